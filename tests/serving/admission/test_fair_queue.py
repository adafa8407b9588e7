"""Who goes first: weights between tenants and classes hold whatever comes, and nobody starves."""

from collections import Counter
from itertools import count

from hypothesis import given, settings
from hypothesis import strategies as st

from serving.admission.fair_queue import CLASS_WEIGHTS, Entry, FairQueue
from serving.admission.tickets import Priority

TENANTS = ("a", "b", "c")
weights = st.fixed_dictionaries({tenant: st.sampled_from((0.5, 1.0, 2.0, 4.0)) for tenant in TENANTS})
sizes = st.floats(1.0, 50.0)


def entry(
    tenant: str, tokens: float, *, priority: Priority = Priority.CUSTOMER, weight: float = 1.0, item: int = 0
) -> Entry[int]:
    return Entry(item, priority, tenant, tokens, weight)


def pop(queue: FairQueue[int]) -> Entry[int]:
    taken = queue.pop(lambda _: True)
    assert taken is not None
    return taken


@given(weights, st.lists(st.tuples(st.sampled_from(TENANTS), sizes), min_size=20, max_size=120))
@settings(max_examples=60, deadline=None)
def test_backlogged_tenants_get_tokens_by_weight_within_the_bound_of_start_time_fair_queueing(
    weight: dict[str, float], works: list[tuple[str, float]]
) -> None:
    """Theorem 1 of Goyal, Vin and Cheng: |W_f/r_f - W_m/r_m| <= l_f/r_f + l_m/r_m while both are backlogged."""
    queue: FairQueue[int] = FairQueue()
    left, largest = Counter[str](), dict.fromkeys(TENANTS, 0.0)
    for tenant, tokens in works:
        queue.push(entry(tenant, tokens, weight=weight[tenant]))
        left[tenant] += 1
        largest[tenant] = max(largest[tenant], tokens)
    served = dict.fromkeys(TENANTS, 0.0)
    backlogged = {tenant for tenant in TENANTS if left[tenant]}
    while len(queue):
        taken = pop(queue)
        left[taken.tenant] -= 1
        served[taken.tenant] += taken.tokens / weight[taken.tenant]
        backlogged -= {tenant for tenant in backlogged if not left[tenant]}
        for one in backlogged:
            for other in backlogged:
                bound = largest[one] / weight[one] + largest[other] / weight[other]
                assert abs(served[one] - served[other]) <= bound + 1e-6


@given(st.lists(sizes, min_size=60, max_size=60))
@settings(max_examples=30, deadline=None)
def test_no_class_starves_and_each_gets_its_part_while_all_wait(tokens: list[float]) -> None:
    queue: FairQueue[int] = FairQueue()
    for size in tokens:
        for priority in Priority:
            queue.push(entry("t", size, priority=priority))
    served = dict.fromkeys(Priority, 0.0)
    while all(queue.waiting(priority) for priority in Priority):
        taken = pop(queue)
        served[taken.priority] += taken.tokens
    total_weight, largest = sum(CLASS_WEIGHTS.values()), max(tokens)
    for priority, weight in CLASS_WEIGHTS.items():
        due = sum(served.values()) * weight / total_weight
        assert served[priority] >= due - 2 * largest


@given(st.lists(st.tuples(st.sampled_from(TENANTS), st.sampled_from(list(Priority)), sizes, st.booleans()), max_size=80))
@settings(max_examples=60, deadline=None)
def test_whatever_comes_and_leaves_its_counts_stay_right(steps: list[tuple[str, Priority, float, bool]]) -> None:
    queue: FairQueue[int] = FairQueue()
    inside: list[Entry[int]] = []
    numbers = count()
    for tenant, priority, tokens, takes in steps:
        if takes and inside:
            queue.remove(inside.pop())
        else:
            inside.append(entry(tenant, tokens, priority=priority, item=next(numbers)))
            queue.push(inside[-1])
        assert len(queue) == len(inside)
        assert abs(queue.tokens - sum(each.tokens for each in inside)) < 1e-6
    assert {pop(queue).item for _ in inside} == {each.item for each in inside}
    assert queue.pop(lambda _: True) is None


def test_one_tenants_work_keeps_its_order() -> None:
    queue: FairQueue[int] = FairQueue()
    for number in range(5):
        queue.push(entry("a", 10.0 - number, item=number))
    assert [pop(queue).item for _ in range(5)] == [0, 1, 2, 3, 4]


def test_a_tenant_that_comes_late_is_not_paid_for_its_absence() -> None:
    queue: FairQueue[int] = FairQueue()
    for _ in range(20):
        queue.push(entry("early", 1.0))
    for _ in range(10):
        pop(queue)
    for _ in range(10):
        queue.push(entry("late", 1.0))
    first = Counter(pop(queue).tenant for _ in range(10))
    assert first == {"early": 5, "late": 5}


def test_what_a_turn_really_cost_is_charged_to_its_tenant() -> None:
    queue: FairQueue[int] = FairQueue()
    for _ in range(10):
        queue.push(entry("cheap", 1.0))
        queue.push(entry("dear", 1.0))
    order = []
    for _ in range(12):
        taken = pop(queue)
        order.append(taken.tenant)
        if taken.tenant == "dear":
            queue.charge(taken, 5.0)
    assert Counter(order)["cheap"] == 10


def test_who_may_not_go_is_passed_over_and_keeps_its_place() -> None:
    queue: FairQueue[int] = FairQueue()
    queue.push(entry("a", 1.0, item=1))
    queue.push(entry("b", 1.0, item=2))
    taken = queue.pop(lambda item: item == 2)
    assert taken is not None
    assert taken.item == 2
    assert pop(queue).item == 1


def test_a_full_queue_drops_from_its_longest_flow_in_the_least_urgent_class() -> None:
    queue: FairQueue[int] = FairQueue()
    for number in range(3):
        queue.push(entry("flood", 1.0, item=number))
    queue.push(entry("one", 1.0, item=9))
    dropped = queue.longest(Priority.CUSTOMER)
    assert dropped is not None
    assert dropped.item == 2
    queue.push(entry("batch", 1.0, priority=Priority.BATCH, item=7))
    dropped = queue.longest(Priority.CUSTOMER)
    assert dropped is not None
    assert dropped.item == 7
