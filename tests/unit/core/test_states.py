import pytest

from dag_engine.core.errors import IllegalMoveError
from dag_engine.core.states import (
    FINAL_RUN_STATES,
    FINAL_TASK_STATES,
    RUN_MOVES,
    TASK_MOVES,
    RunEvent,
    RunState,
    TaskEvent,
    TaskState,
    move_run,
    move_task,
)


def test_final_states_are_those_that_nothing_leaves() -> None:
    assert {
        TaskState.SUCCEEDED,
        TaskState.FAILED,
        TaskState.CANCELLED,
        TaskState.SKIPPED,
        TaskState.UPSTREAM_FAILED,
    } == FINAL_TASK_STATES
    assert {RunState.SUCCEEDED, RunState.FAILED, RunState.CANCELLED} == FINAL_RUN_STATES


@pytest.mark.parametrize("state", sorted(FINAL_TASK_STATES))
@pytest.mark.parametrize("event", sorted(TaskEvent))
def test_no_event_moves_a_final_task(state: TaskState, event: TaskEvent) -> None:
    with pytest.raises(IllegalMoveError, match=state):
        move_task(state, event)


@pytest.mark.parametrize("state", sorted(FINAL_RUN_STATES))
@pytest.mark.parametrize("event", sorted(RunEvent))
def test_no_event_moves_a_final_run(state: RunState, event: RunEvent) -> None:
    with pytest.raises(IllegalMoveError):
        move_run(state, event)


def test_every_state_can_be_reached_and_every_open_state_can_end() -> None:
    for initial, moves, final in (
        (TaskState.PENDING, TASK_MOVES, FINAL_TASK_STATES),
        (RunState.PENDING, RUN_MOVES, FINAL_RUN_STATES),
    ):
        reached, frontier = {initial}, [initial]
        while frontier:
            state = frontier.pop()
            for (source, _), target in moves.items():
                if source == state and target not in reached:
                    reached.add(target)
                    frontier.append(target)
        assert reached == set(type(initial))
        for state in set(type(initial)) - final:
            assert any(source == state for source, _ in moves)
