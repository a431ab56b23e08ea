"""Tables and queries; the only writer of a job's state."""
