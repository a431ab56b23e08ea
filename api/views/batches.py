"""Conversion of a batch's rows to the API's shape."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict

from api.public_address import link
from api.views.jobs import output_view
from core.lifecycle import SETTLED, JobStatus
from core.ratings import AxisRating as Row
from core.ratings import ratings_by_axis
from core.schemas.base import iso
from core.schemas.batches import AxisRating, BatchItem, BatchUrls
from core.schemas.batches import Batch as BatchAnswer
from db.jobs.read import Snapshot
from db.tables import Batch, BatchJob


def batch_view(batch: Batch, counts: Mapping[str, int], items: Sequence[tuple[BatchJob, Snapshot]] = ()) -> BatchAnswer:
    """Convert a batch, with its jobs when `items` are given."""
    open_jobs = sum(count for status, count in counts.items() if status not in SETTLED)
    present = sum(counts.values())
    base = link(f"/v1/batches/{batch.id}")
    return BatchAnswer.model_construct(
        id=batch.id,
        name=batch.name,
        owner=batch.owner,
        status="running" if open_jobs else "finished",
        total=batch.total,
        counts={JobStatus(status): count for status, count in counts.items()},
        value=round((present - open_jobs) / present, 4) if present else 1.0,
        created_at=iso(batch.created_at),  # type: ignore[arg-type]
        jobs=[_item(member, snapshot) for member, snapshot in items],
        ratings=[AxisRating(**asdict(row)) for row in axis_ratings(items)],
        urls=BatchUrls(
            self=base, cancel=f"{base}/cancel", contact_sheet=f"{base}/contact-sheet", ratings=f"{base}/ratings.csv"
        ),
    )


def axis_ratings(items: Sequence[tuple[BatchJob, Snapshot]]) -> list[Row]:
    """Return the mean ratings by axis value, of axes that vary."""
    rows = ratings_by_axis((member.axes, image.rating) for member, snapshot in items for image in snapshot.images)
    counts = Counter(row.axis for row in rows)
    return [row for row in rows if counts[row.axis] > 1]


def _item(member: BatchJob, snapshot: Snapshot) -> BatchItem:
    return BatchItem.model_construct(
        index=member.index,
        job_id=member.job_id,
        status=JobStatus(snapshot.job.status),
        axes=member.axes,
        outputs=[output_view(image) for image in snapshot.images],
        url=link(f"/v1/jobs/{member.job_id}"),
    )
