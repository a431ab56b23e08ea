"""What every room speaks: settings, errors, lifecycle, parameters, catalogue, queue contract, image files."""
