"""A hundred explanations leave nothing behind: no graph nodes, no new traces, no memory."""

import gc
from pathlib import Path

import pytest
from conftest import five_input_examples

import mm_keras as mm
from mm_keras.explanation.engine import engine_for


def nodes(model):
    """Returns how many graphs each layer is called in, those of nested models too."""
    return [len(layer._inbound_nodes) for layer in model._flatten_layers()]


def resident_mib():
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 2**20


@pytest.mark.slow
def test_a_hundred_explanations_leave_nothing_behind(five_input_run):
    model, examples = five_input_run.model, five_input_examples(10)
    before = nodes(model)

    def explain(times):
        for i in range(times):
            example = dict(examples[i % 10])
            if i % 3 == 0:
                del example[("photo", "voice")[i % 2]]
            mm.explain(five_input_run, example, steps=16)

    explain(20)
    engine = engine_for(model, five_input_run.tasks)
    compiled = [engine._observe, engine._differentiate, *(f for f, _ in engine.coalition_functions.values())]
    memory = resident_mib()
    explain(100)
    grown = resident_mib() - memory
    assert nodes(model) == before
    assert [f.experimental_get_tracing_count() for f in compiled] == [1, 1, 1]
    # An explanation holds its pictures and sounds, some 50 KiB: a hundred kept would be 5 MiB, a trace each hundreds.
    # What the allocator keeps of large arrays comes and goes by a few.
    assert grown < 30


@pytest.mark.slow
def test_importance_of_many_rows_is_flat_in_memory(five_input_run):
    examples = five_input_examples(256)
    mm.importance(five_input_run, examples)
    memory = resident_mib()
    mm.importance(five_input_run, examples * 4)
    assert resident_mib() - memory < 60
