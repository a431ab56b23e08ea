"""Order of claims: priority first, then turns between owners."""

from __future__ import annotations

from tests.integration.db.conftest import Claim, Submit


def owners_in_order(claim: Claim) -> list[str]:
    order = []
    while (job := claim()) is not None:
        order.append(job.owner)
    return order


def test_many_jobs_of_one_owner_delay_anothers_first_job_by_one_job(submit_job: Submit, claim: Claim) -> None:
    for _ in range(30):
        submit_job(owner="ann")
    submit_job(owner="bob")
    assert owners_in_order(claim).index("bob") <= 1


def test_owners_with_many_jobs_take_turns(submit_job: Submit, claim: Claim) -> None:
    for owner in ("ann", "bob", "cid"):
        for _ in range(5):
            submit_job(owner=owner)
    order = owners_in_order(claim)
    assert all(set(order[start : start + 3]) == {"ann", "bob", "cid"} for start in range(0, 15, 3))


def test_a_new_owner_does_not_overtake_all_jobs_of_another(submit_job: Submit, claim: Claim) -> None:
    for _ in range(6):
        submit_job(owner="ann")
    for _ in range(4):
        claim()
    for _ in range(6):
        submit_job(owner="bob")
    assert owners_in_order(claim)[:4] == ["ann", "bob", "ann", "bob"]


def test_priority_precedes_turns(submit_job: Submit, claim: Claim) -> None:
    low = submit_job(priority=1)
    high = submit_job(priority=9)
    middle = submit_job(priority=5)
    assert [job.id for job in (claim(), claim(), claim()) if job] == [high.id, middle.id, low.id]


def test_a_worker_claims_only_jobs_of_its_model(submit_job: Submit, claim: Claim) -> None:
    submit_job(model="z-image-turbo")
    assert claim() is None
