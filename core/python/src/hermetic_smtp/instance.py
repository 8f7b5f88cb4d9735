"""The sandbox: one instance of the engine's core module in a store of its own.

Owns wasmtime: compiling once a process, instantiating once a session, calls by name, the bounds of memory and of work. Refuses
to know what the functions mean. A component call through PyPI's `wasmtime` costs about 130 microseconds and as much again for
each 150 octets, and even a call of a core function by `Func.__call__` asks for its type each time. So the core module is called by
the C API's `wasmtime_func_call_unchecked`, over arguments that are laid out here by the canonical ABI, and memory is read and
written in place: 3 microseconds a call.

It fails with `EngineError` when the engine traps, works longer than one call may, or leaves behind what is no value. Then this
instance is closed, and later calls are a `MisuseError`.
"""

from __future__ import annotations

import ctypes
import functools
import os
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import wasmtime
from wasmtime import _ffi as ffi

from hermetic_smtp import abi, schema
from hermetic_smtp.errors import EngineError, MisuseError
from hermetic_smtp.schema import FUNCTIONS, VERSION
from hermetic_smtp.shapes import Function, ResultOf
from hermetic_smtp.values import Misuse

MEMORY = 64 * 1024 * 1024
"""Octets that one session's engine may have at most; address space, not memory, is set aside for it."""

WORK = 50_000_000
"""Instructions, about, that one call may take, and for each octet of its input `WORK_OCTET` more. The event loop waits meanwhile: that
is a quarter of a second for most calls. The most that any input was seen to need is 3,430 an octet (64 KiB of EHLO, without bounds)."""

WORK_OCTET = 5_000

# Calls hold the GIL: they are short, and giving it up and taking it back would cost as much as they do.
_library = ctypes.PyDLL(ffi.dll._name, handle=ffi.dll._handle)
_pointer = ctypes.c_void_p
_call = _library.wasmtime_func_call_unchecked
_call.argtypes = [_pointer, _pointer, _pointer, ctypes.c_size_t, _pointer]
_call.restype = _pointer
_set_fuel = _library.wasmtime_context_set_fuel
_set_fuel.argtypes = [_pointer, ctypes.c_uint64]
_set_fuel.restype = _pointer
_memory_size = _library.wasmtime_memory_data_size
_memory_size.argtypes = [_pointer, _pointer]
_memory_size.restype = ctypes.c_size_t
_memory_data = _library.wasmtime_memory_data
_memory_data.argtypes = [_pointer, _pointer]
_memory_data.restype = _pointer
_instantiate = _library.wasmtime_instance_pre_instantiate
_instantiate.argtypes = [_pointer, _pointer, _pointer, _pointer]
_instantiate.restype = _pointer
_export = _library.wasmtime_instance_export_get
_export.argtypes = [_pointer, _pointer, ctypes.c_char_p, ctypes.c_size_t, _pointer]
_export.restype = ctypes.c_bool
_memmove = ctypes.memmove
_FUNCTION = 0
"""`WASMTIME_EXTERN_FUNC`."""
_misuse = abi.reader(schema.misuse)


def _address(pointer: Any) -> int:
    address = ctypes.cast(pointer, _pointer).value
    assert address
    return address


def _failed(error: int, trap: int) -> str:
    """The text of an error or a trap of wasmtime's, which is freed thereby; one line."""
    if error:
        text = str(wasmtime.WasmtimeError._from_ptr(ctypes.cast(error, ctypes.POINTER(ffi.wasmtime_error_t))))
    else:
        text = str(wasmtime.Trap._from_ptr(ctypes.cast(trap, ctypes.POINTER(ffi.wasm_trap_t))))
    if "all fuel consumed" in text:
        return "it worked longer than one call may"
    return text.strip().splitlines()[-1].strip() if text.strip() else "no reason was given"


class Half:
    """The functions of one half of the engine, as its core module names them."""

    def __init__(self, name: str) -> None:
        self.functions: dict[str, Function] = FUNCTIONS[name]
        self.parameters = {n: abi.Parameters(f.parameters, f.kind == "method") for n, f in self.functions.items()}
        interface = f"hermetic:engine/{name}@{VERSION}#"
        self.results = {n: abi.reader(f.result) for n, f in self.functions.items() if f.result}
        # Behind the discriminant of `result`: both of its sides begin at the same place.
        self.payloads = {
            n: abi.payload(ResultOf(f.result, schema.misuse))[0] for n, f in self.functions.items() if f.kind != "constructor"
        }

        # What the core module calls each function, and what is called when its result has been read.
        self.exports = {
            n: (interface + ("[constructor]session" if f.kind == "constructor" else f"[{f.kind}]session.{n}")).encode()
            for n, f in self.functions.items()
        }
        self.posts = {n: b"cabi_post_" + name for n, name in self.exports.items()}


@functools.cache
def half(name: str) -> Half:
    """`server` or `client`; read once, when it is first wanted."""
    return Half(name)


class Engine:
    """The engine, compiled. One a process is enough (`default`); making one takes a second, or milliseconds where wasmtime's cache
    has it already.

    `path` is a core module, as `extract.py` takes it out of the component; none: the one that came with this package.
    Raises `EngineError` for a file that is none.
    """

    def __init__(self, path: str | os.PathLike[str] | None = None) -> None:
        self.path = Path(path) if path is not None else Path(__file__).with_name("engine.wasm")
        try:
            code = self.path.read_bytes()
        except OSError as error:
            raise EngineError(f"{self.path}: the engine is not there ({error.strerror}); build it with `pip install`") from None
        config = wasmtime.Config()
        config.consume_fuel = True
        # The memory never moves, so its address is asked for once.
        config.memory_may_move = False
        config.memory_reservation = MEMORY
        try:
            config.cache = True
        except wasmtime.WasmtimeError:
            # There is no place to keep it, a machine without a home folder for one: then each start compiles.
            pass
        self._engine = wasmtime.Engine(config)
        try:
            module = wasmtime.Module(self._engine, code)
            linker = wasmtime.Linker(self._engine)
        except wasmtime.WasmtimeError as error:
            raise EngineError(f"{self.path} is no engine: {str(error).splitlines()[0]}") from None
        self._linker = linker
        self._link(module)

    def _link(self, module: wasmtime.Module) -> None:
        number = wasmtime.ValType.i32()
        for wanted in module.imports:
            interface, name = (wanted.module or "").encode(), (wanted.name or "").encode()
            results = {b"[resource-new]": [number], b"[resource-drop]": []}.get(name.partition(b"]")[0] + b"]")
            if results is None:
                raise EngineError(f"{self.path} is no engine: it imports {wanted.module} {wanted.name}, and an engine imports nothing")
            kind = wasmtime.FuncType([number], results)
            error = ffi.wasmtime_linker_define_func_unchecked(
                self._linker.ptr(), interface, len(interface), name, len(name), kind.ptr(), _handle, None, _no_finalizer
            )
            if error:
                raise EngineError(f"{self.path} is no engine: {wasmtime.WasmtimeError._from_ptr(error)}")
        try:
            self._prepared = self._linker.instantiate_pre(module)
        except wasmtime.WasmtimeError as error:
            raise EngineError(f"{self.path} is no engine: {str(error).splitlines()[0]}") from None
        self._pre = _address(self._prepared.ptr())


@ffi.wasmtime_func_unchecked_callback_t  # type: ignore[untyped-decorator]
def _handle(*_: object) -> int:
    """What a component's runtime would do with handles: a session's is its own number, which stays where it is as the result, and
    none outlives its instance, so that there is nothing to drop."""
    return 0


_no_finalizer = ctypes.CFUNCTYPE(None, ctypes.c_void_p)()


_lock = threading.Lock()
_default: Engine | None = None


def default() -> Engine:
    """The engine of this package, compiled when it is first asked for."""
    global _default
    with _lock:
        if _default is None:
            _default = Engine()
        return _default


class Prepared:
    """Options that many sessions begin with, laid out once. Raises `MisuseError` if they do not fit."""

    def __init__(self, name: str, options: object) -> None:
        self.options = options
        try:
            self.plan = half(name).parameters["constructor"].plan(None, [options])
        except abi.Misfit as error:
            raise MisuseError(f"options: {str(error).removeprefix('options: ')}.") from None


class Known:
    """An answer that is given often, laid out once. Raises `MisuseError` if it does not fit."""

    def __init__(self, answer: object) -> None:
        self.answer = answer
        try:
            # Without the session's number and the time, which stand before it.
            self.plan = half("server").parameters["answer"].plan(0, [0, answer])[2:]
        except abi.Misfit as error:
            raise MisuseError(f"answer: {error}.") from None


class Instance:
    """One session's sandbox, for one thread at a time: a call while another thread is in one is a `MisuseError`."""

    __slots__ = ("half", "name", "_arguments", "_at", "_context", "_engine", "_exports", "_lock", "_memory", "_memory_at", "_places", "_session", "_store", "_trap", "_view")

    def __init__(self, name: str, engine: Engine | None = None) -> None:
        self.half = half(name)
        self.name = name
        self._engine = engine or default()
        self._store: wasmtime.Store | None = wasmtime.Store(self._engine._engine)
        self._store.set_limits(memory_size=MEMORY, instances=1, memories=1, tables=8, table_elements=100_000)
        self._context = _address(self._store._context())
        # Four octets of a value lie in each sixteen of an argument; a trap's address has a place of its own.
        self._arguments = (ctypes.c_uint64 * 34)()
        self._places = memoryview(self._arguments).cast("B").cast("Q")
        self._at = ctypes.addressof(self._arguments)
        self._trap = self._at + 33 * 8
        self._exports: dict[bytes, Any] = {}
        self._lock = threading.Lock()
        self._session = 0
        _set_fuel(self._context, WORK)
        instance = ffi.wasmtime_instance_t()
        found = ffi.wasmtime_extern_t()
        error = _instantiate(self._engine._pre, self._context, ctypes.addressof(instance), self._trap)
        if error or self._places[33]:
            raise self._broken(_failed(error or 0, self._places[33]))
        self._exports[b""] = instance
        if not _export(self._context, ctypes.addressof(instance), b"memory", 6, ctypes.addressof(found)):
            raise self._broken("it has no memory")
        self._memory = found.of.memory
        self._memory_at = _memory_data(self._context, ctypes.addressof(self._memory))
        self._view = self._look()

    def _look(self) -> memoryview:
        """The whole memory as it is now."""
        size = _memory_size(self._context, ctypes.addressof(self._memory))
        return memoryview((ctypes.c_ubyte * size).from_address(self._memory_at)).cast("B")

    def _function(self, name: bytes) -> int:
        """The address of what wasmtime knows a function by, looked up when it is first called."""
        known = self._exports.get(name)
        if known is None:
            found = ffi.wasmtime_extern_t()
            instance = ctypes.addressof(self._exports[b""])
            if not _export(self._context, instance, name, len(name), ctypes.addressof(found)) or int(found.kind) != _FUNCTION:
                raise self._broken(f"it has no function {name.decode()}")
            # The structure is kept: the address points into it.
            self._exports[name] = known = (ctypes.addressof(found.of.func), found)
        return int(known[0])

    def _broken(self, why: str) -> EngineError:
        self._end()
        return EngineError(f"The engine of this session failed: {why}. The session has ended; no other is concerned.")

    def _run(self, function: int, *arguments: int) -> int:
        """One call of a core function; its result, if it has one."""
        places = self._places
        at = 0
        for value in arguments:
            places[at] = value
            at += 2
        # Room for one result, which a function without arguments has too.
        error = _call(self._context, function, self._at, max(len(arguments), 1), self._trap)
        if error or places[33]:
            raise self._broken(_failed(error or 0, places[33]))
        return places[0] & 0xFFFF_FFFF

    def allocate(self, size: int, align: int) -> int:
        """Room in the engine's memory, for what is given to it."""
        at = self._run(self._function(b"cabi_realloc"), 0, 0, align, size)
        if at + size > len(self._view):
            self._view = self._look()
            if at + size > len(self._view):
                raise self._broken("it gave away memory that it does not have")
        return at

    def write(self, at: int, octets: bytes) -> None:
        """Puts octets where `allocate` said."""
        _memmove(self._memory_at + at, octets, len(octets))

    def construct(self, options: object) -> None:
        """Makes the session; once. `options` may be a `Prepared`."""
        plan = (options if isinstance(options, Prepared) else Prepared(self.name, options)).plan
        self._session = self._carry_out("constructor", plan)

    def thaw(self, options: object, image: object) -> Misuse | None:
        """Makes the session of an image; or says why not. Once, in place of `construct`."""
        answer = self._invoke("thaw", None, [options, image])
        misuse: Misuse | None = None
        if self._view[answer]:
            misuse = self._read(_misuse, answer + self.half.payloads["thaw"])
        else:
            self._session = int.from_bytes(self._view[answer + 4 : answer + 8], "little")
        self._run(self._function(self.half.posts["thaw"]), answer)
        return misuse

    def _invoke(self, function: str, session: int | None, values: Sequence[object]) -> int:
        try:
            plan = self.half.parameters[function].plan(session, values)
        except abi.Misfit as error:
            raise MisuseError(f"{function}: {error}.") from None
        return self._carry_out(function, plan)

    def _carry_out(self, function: str, plan: abi.Plan) -> int:
        flat = [abi.place(self, value) if isinstance(value, abi.Block) else value for value in plan]
        return self._run(self._function(self.half.exports[function]), *flat)

    def _read(self, read: abi.Reader, at: int) -> Any:
        try:
            return read(self._view, at)
        except abi.Broken:
            # It may only have grown meanwhile.
            self._view = self._look()
        try:
            return read(self._view, at)
        except abi.Broken as error:
            raise self._broken(str(error)) from None

    def _enter(self) -> None:
        if not self._lock.acquire(blocking=False):
            raise MisuseError("Another thread is in a call of this session: one at a time.")
        if self._store is None:
            self._lock.release()
            raise MisuseError("The session is closed: it was closed, frozen, or its engine has failed. Make another one.")

    def call(self, function: str, *values: object) -> Any:
        """One function of the session. Returns its result or the `Misuse` that it says.

        Raises `MisuseError` for values that do not fit and after the end, `EngineError` where the engine fails.
        """
        self._enter()
        try:
            allowance = WORK
            for value in values:
                if type(value) is bytes:
                    allowance += WORK_OCTET * len(value)
            _set_fuel(self._context, allowance)
            answer = self._invoke(function, self._session, values)
            return self._answer(function, answer)
        finally:
            self._lock.release()

    def answer(self, now: int, known: Known) -> Any:
        """`answer` with one that is laid out already."""
        if type(now) is not int or not 0 <= now <= 0xFFFF_FFFF_FFFF_FFFF:
            return self.call("answer", now, known.answer)
        self._enter()
        try:
            _set_fuel(self._context, WORK)
            flat = [abi.place(self, value) if isinstance(value, abi.Block) else value for value in known.plan]
            return self._answer("answer", self._run(self._function(self.half.exports["answer"]), self._session, now, *flat))
        finally:
            self._lock.release()

    def receive(self, now: int, octets: bytes) -> Any:
        """`receive`, which is called for all that arrives, without the detour over the table. `octets` are bytes."""
        if type(octets) is not bytes or type(now) is not int or not 0 <= now <= 0xFFFF_FFFF_FFFF_FFFF:
            return self.call("receive", now, octets)
        self._enter()
        try:
            size = len(octets)
            _set_fuel(self._context, WORK + WORK_OCTET * size)
            at = 1
            if size:
                at = self.allocate(size, 1)
                _memmove(self._memory_at + at, octets, size)
            answer = self._run(self._function(self.half.exports["receive"]), self._session, now, at, size)
            return self._answer("receive", answer)
        finally:
            self._lock.release()

    def _answer(self, function: str, answer: int) -> Any:
        payload = answer + self.half.payloads[function]
        if answer >= len(self._view):
            self._view = self._look()
            if answer >= len(self._view):
                raise self._broken("its answer is not inside its memory")
        result = self._read(_misuse if self._view[answer] else self.half.results[function], payload)
        self._run(self._function(self.half.posts[function]), answer)
        return result

    def close(self) -> None:
        """Gives everything back. Closing twice is nothing."""
        if not self._lock.acquire(blocking=False):
            raise MisuseError("Another thread is in a call of this session: one at a time.")
        try:
            self._end()
        finally:
            self._lock.release()

    def _end(self) -> None:
        store, self._store = self._store, None
        if store is not None:
            self._view = memoryview(b"")
            self._context = 0
            self._exports = {}
            store.close()

    @property
    def closed(self) -> bool:
        """Whether it has ended."""
        return self._store is None

    @property
    def memory(self) -> int:
        """Octets of the engine's memory, as WebAssembly counts them; most of them were never touched and cost nothing."""
        return 0 if self._store is None else len(self._look())
