"""Compiled operations against sums and products step by step; and what they refuse."""

import numpy as np
import pytest
import torch

from sklearn_einet import native
from sklearn_einet.native.calls import call, library, operation
from sklearn_einet.native.program import NULL, Recorder
from tests.helpers.kernel_cases import DTYPES, GROUPS, assert_case, cases

pytestmark = pytest.mark.usefixtures("compiled")


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("group", GROUPS)
def test_operations(instructions, group, dtype):
    for case in cases(group, dtype):
        call(case.operation, **case.fields)
        assert_case(case, dtype)


def test_every_operation_has_cases():
    tested = {case.operation for group in GROUPS for case in cases(group, torch.float64)}
    assert tested == {name for name, _ in library.OPERATIONS}


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_recorded_calls_compute_the_same(instructions, dtype):
    """Every operation as an instruction, with the addresses of its arrays."""
    for group in GROUPS:
        for case in cases(group, dtype)[-3:]:
            recorder = Recorder(dtype.itemsize)
            fields = {
                name: NULL._replace(offset=value.data_ptr())
                if isinstance(value, torch.Tensor)
                else NULL
                if value is None
                else value
                for name, value in case.fields.items()
            }
            recorder.call(case.operation, **fields)
            empty = torch.empty(0, dtype=dtype)
            recorder.program(0).run(1, empty, empty, [], [])
            assert_case(case, dtype)


def test_instruction_sets_are_named(instructions):
    assert native.instruction_set() == instructions
    assert native.instruction_sets()[-1] == "generic"
    with pytest.raises(ValueError, match="cannot run 'mmx'"):
        native.use("mmx")
    assert native.instruction_set() == instructions


def scale_fields(**others):
    x = torch.zeros(2, 3, 5)
    fields = {"x": x, "scaled": torch.empty_like(x), "maximum": torch.empty(2, 5)}
    return {**fields, "n_rows": 2, "k": 3, "batch": 5, **others}


@pytest.mark.parametrize(
    ("others", "error", "message"),
    [
        ({"y": 1}, TypeError, "scale has no field 'y'"),
        ({"x": None}, TypeError, "scale needs the field 'x'"),
        ({"k": None}, TypeError, "scale needs the field 'k'"),
        ({"x": torch.zeros(2, 3, 4)}, ValueError, "x has 24 numbers, but needs 30"),
        ({"batch": -5}, ValueError, "x has 30 numbers, but needs -30"),
        ({"x": torch.zeros(2, 5, 3).mT}, TypeError, "contiguous"),
        ({"x": torch.zeros(2, 3, 5).double()}, TypeError, "the same type"),
        ({"x": torch.zeros(2, 3, 5).long()}, TypeError, "the same type"),
        ({"x": torch.zeros(2, 3, 5, device="meta")}, TypeError, "CPU"),
    ],
)
def test_wrong_tensors_are_refused(others, error, message):
    with pytest.raises(error, match=message):
        call("scale", **scale_fields(**others))


def test_other_types_are_refused():
    tensors = {k: v.half() for k, v in scale_fields().items() if isinstance(v, torch.Tensor)}
    with pytest.raises(TypeError, match="float32 or float64"):
        call("scale", **scale_fields(**tensors))


def test_unknown_operations_are_refused():
    with pytest.raises(ValueError, match="no compiled operation 'scales'"):
        call("scales")
    with pytest.raises(ValueError, match="no compiled operation 'scales'"):
        Recorder(4).call("scales")


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((False, 1, 1, 1, 1), TypeError, "takes 8 arguments"),
        ((False, 1, 0, 1, 1, 2, 3, 5), ValueError, "scale: x is null"),
        ((False, 1, 1, 1, 1, 2, -3, 5), ValueError, "scale: k is negative"),
        ((False, 1, 1, 1, 1, 2**30, 2**30, 5), ValueError, "scale: k is too large"),
        ((False, 0, 1, 1, 1, 2, 3, 5), ValueError, "threads must be 1 to"),
        ((False, 1, "x", 1, 1, 2, 3, 5), TypeError, "int"),
        ((False, 1, 1, 1, 1, 2, 3.5, 5), TypeError, "int"),
        ((False, 1, 2**70, 1, 1, 2, 3, 5), OverflowError, "too large|too big"),
    ],
)
def test_wrong_arguments_are_refused(arguments, error, message):
    with pytest.raises(error, match=message):
        library.scale(*arguments)


def test_arrays_of_nothing_may_be_null():
    library.scale(False, 1, 0, 0, 0, 0, 3, 5)
    ends, zero = torch.tensor([0]), torch.tensor([1.0])
    one = ends.data_ptr(), 0, ends.data_ptr(), 0, 0, zero.data_ptr()
    library.mix(False, 1, zero.data_ptr(), 0, *one, 1, 1, 1, 1)
    assert zero == 0
    ends += 1
    with pytest.raises(ValueError, match="mixed, plain or weights is null"):
        library.mix(False, 1, zero.data_ptr(), 0, *one, 1, 1, 1, 1)


def instruction(name, *fields):
    numbers = [operation(name).code, *fields]
    return numbers + [0] * (library.INSTRUCTION_LENGTH - len(numbers))


@pytest.mark.parametrize(
    ("program", "message"),
    [
        (np.zeros(21, dtype=np.int64), "int64, 20 for each instruction"),
        (np.zeros(20, dtype=np.int32), "array of int64"),
        (np.array([[-1] + 19 * [0]]), "unknown operation"),
        (np.array([[10**6] + 19 * [0]]), "unknown operation"),
        (np.array([instruction("clear", 0, 0), instruction("clear", 0, 1)]), "clear: x is null"),
        (np.array([instruction("clear", 0, -1)]), "clear: n is negative"),
    ],
)
def test_wrong_programs_are_refused(program, message):
    with pytest.raises(ValueError, match=message):
        library.run(False, 1, program)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"programs": np.zeros(20, dtype=np.int32)}, "array of int64"),
        ({"n_programs": 0}, "other sizes"),
        ({"n_programs": 3}, "other sizes"),
        ({"values": np.zeros(1, dtype=np.int64)}, "other sizes"),
        ({"n_programs": 4}, "whole instructions"),
        ({"which": np.array([0, 2])}, "unknown program"),
        ({"which": np.array([-1, 0])}, "unknown program"),
        ({"places": np.array([0])}, "outside of the programs"),
        ({"places": np.array([20])}, "outside of the programs"),
        ({"places": np.array([-3])}, "outside of the programs"),
        ({"values": np.array([1, -1])}, "clear: n is negative"),
    ],
)
def test_wrong_steps_are_refused(changed, message):
    x = np.ones(3)
    programs = np.array([instruction("clear", x.ctypes.data, 1) for _ in range(2)])
    given = {"programs": programs, "n_programs": 2, "which": np.array([0, 1])}
    given |= {"places": np.array([2]), "values": np.array([1, 2]), **changed}
    with pytest.raises(ValueError, match=message):
        library.run_steps(True, 1, *given.values())
    np.testing.assert_array_equal(x, 1)  # none has been run


def test_steps_run_their_programs_with_their_numbers():
    x = np.ones(6)
    starts = x.ctypes.data + 8 * np.array([0, 3])
    programs = np.array([instruction("clear", start, 1) for start in starts])
    which, places, values = np.array([0, 1, 0]), np.array([2]), np.array([1, 2, 2])
    library.run_steps(True, 1, programs, 2, which, places, values)
    np.testing.assert_array_equal(x, [0, 0, 1, 0, 0, 1])


def test_recorded_calls_are_checked():
    recorder = Recorder(4)
    with pytest.raises(TypeError, match="clear has no field 'y'"):
        recorder.call("clear", y=NULL)
    with pytest.raises(TypeError, match="clear needs the field 'n'"):
        recorder.call("clear", NULL)
    with pytest.raises(TypeError, match="clear has 2 fields, not 3"):
        recorder.call("clear", NULL, 1, 2)
    with pytest.raises(TypeError, match="two values for a field"):
        recorder.call("clear", NULL, x=NULL)
    with pytest.raises(TypeError, match="clear: x cannot be 3"):
        recorder.call("clear", 3, 1)


@pytest.mark.parametrize("threads", [1, 3])
def test_memory_that_cannot_be_had(instructions, threads):
    """Scratch memory is refused before anything is read or written."""
    with pytest.raises(MemoryError):
        library.scale(False, threads, 1, 1, 1, 1, 2**42, 1)
    recorded = np.array([instruction("scale", 1, 1, 1, 1, 2**42, 1)])
    with pytest.raises(MemoryError):
        library.run(True, threads, recorded)
