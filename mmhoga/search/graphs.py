"""The gradients of both steps as CUDA graphs: one launch in place of thousands.

The first batches run eagerly, on a stream of their own as CUDA requires, and count as iterations of the search. Then
the forward and the backward pass are captured once. Later batches replay them: the same kernels on the same memory.
The optimizers, schedules, hooks and the data preprocessor stay outside.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from mmengine.dist import get_world_size
from mmengine.optim import AmpOptimWrapper, OptimWrapper, OptimWrapperDict
from mmengine.structures import BaseDataElement
from torch import Tensor

from mmhoga.search.resume.state import SearchError

#: From a preprocessed batch, the values to log and the gradients: None for a tensor that the loss does not depend on.
Gradients = Callable[[Any], 'tuple[dict[str, Any], list[Any]]']

WARM_UP = 3  # batches; libraries allocate their workspaces in the first ones


class CapturedGradients:
    """A function of a batch that is captured as a CUDA graph.

    The captured function gets a copy of the batch without the metainfo of data samples, whose values would be frozen at
    those of the first images: a model that reads them fails at once. A batch of another form or other shapes, such as a
    smaller last one, runs eagerly.

    Args:
        compute: reads no tensor on the host, and changes nothing but tensors, in place.

    Raises:
        SearchError: from a call: the function cannot be captured, or a batch holds something other than tensors,
            numbers, strings and containers of these.
    """

    def __init__(self, compute: Gradients, transfer: Transfer) -> None:
        self._compute = compute
        self._transfer = transfer
        self._seen = 0
        self._form: Any = None
        self._batch: Any = None
        self._inputs: list[Tensor] = []
        self._replay: Callable[[], None] | None = None
        self._result: tuple[dict[str, Any], list[Any]]

    def __call__(self, data: Any) -> tuple[dict[str, Any], list[Any]]:
        """From a batch of a data loader. The gradients are valid until the next call."""
        batch = self._transfer.preprocess(data)
        try:
            return self._gradients(batch)
        finally:
            self._transfer.release()

    def _gradients(self, batch: Any) -> tuple[dict[str, Any], list[Any]]:
        inputs: list[Tensor] = []
        form = _form(batch, inputs)
        if self._form is None:
            self._form = form
        if form != self._form:
            return self._compute(_copy(batch, iter(inputs)))
        if self._seen < WARM_UP:
            self._seen += 1
            return Graph.warm_up(lambda: self._compute(_copy(batch, iter(inputs))))
        if self._replay is None:
            self._inputs = [tensor.clone() for tensor in inputs]
            self._batch = _copy(batch, iter(self._inputs))
            try:
                self._replay, self._result = Graph.capture(lambda: self._compute(self._batch))
            except Exception as error:
                raise SearchError(
                    f'The steps of this search cannot be captured in a CUDA graph: {error}. Usually the model reads a '
                    'value on the host, as detectors do. Set train_cfg.cuda_graphs=False; compile=True may help.'
                ) from error
        for dtype in {tensor.dtype for tensor in inputs}:
            where = [i for i, tensor in enumerate(inputs) if tensor.dtype == dtype]
            # One launch for the labels of all images.
            torch._foreach_copy_([self._inputs[i] for i in where], [inputs[i] for i in where])
        self._transfer.release()
        self._replay()
        log, gradients = self._result
        return {name: value.clone() for name, value in log.items()}, gradients


class Transfer:
    """The data preprocessor on a stream of its own: the host does not wait for earlier steps when it copies a batch.

    A batch is in memory of that stream, which reuses it from :meth:`release` on.

    Args:
        preprocessor: that of the model.
        device: without CUDA, batches are preprocessed as always.
    """

    def __init__(self, preprocessor: Callable[[Any, bool], Any], device: torch.device) -> None:
        self._preprocessor = preprocessor
        self._stream = torch.cuda.Stream(device) if device.type == 'cuda' else None
        self._held = True
        self.release()  # the stream reads buffers of the preprocessor

    def preprocess(self, data: Any) -> Any:
        self._held = True
        if self._stream is None:
            return self._preprocessor(data, True)
        with torch.cuda.stream(self._stream):
            batch = self._preprocessor(data, True)
        torch.cuda.current_stream().wait_stream(self._stream)
        return batch

    def release(self) -> None:
        """Make the stream wait for what has been launched so far, which may read the batch."""
        if self._held and self._stream is not None:
            self._stream.wait_stream(torch.cuda.current_stream())
        self._held = False


class Graph:
    """Warm-up and capture by CUDA."""

    @staticmethod
    def warm_up(run: Callable[[], Any]) -> Any:
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            result = run()
        torch.cuda.current_stream().wait_stream(side)
        torch.cuda.synchronize()  # memory of this stream is reused by the other
        return result

    @staticmethod
    def capture(run: Callable[[], Any]) -> tuple[Callable[[], None], Any]:
        """The function that replays ``run``, and the result, which each replay overwrites. Nothing runs yet."""
        graph = torch.cuda.CUDAGraph()
        # thread_local: a thread that pins memory for a data loader may allocate meanwhile
        with torch.cuda.graph(graph, capture_error_mode='thread_local'):
            result = run()
        return graph.replay, result


def require_capturable(wrappers: OptimWrapperDict, alpha: Tensor, order: int) -> None:
    """Refuse settings with which a captured step would differ from an eager one.

    Raises:
        ValueError: no CUDA device, several processes, the second order, or a wrapper that accumulates gradients or is
            not one of mmengine's two.
    """
    reasons = []
    if alpha.device.type != 'cuda':
        reasons.append(f'a CUDA GPU, and the model is on {alpha.device.type}')
    if get_world_size() > 1:
        reasons.append(f'one process, and there are {get_world_size()}')
    if order != 1:
        reasons.append('train_cfg.order=1')
    for name, wrapper in wrappers.items():
        if type(wrapper) not in (OptimWrapper, AmpOptimWrapper) or wrapper._accumulative_counts != 1:
            reasons.append(
                f"optim_wrapper.{name} of type 'OptimWrapper' or 'AmpOptimWrapper' with accumulative_counts=1"
            )
    if reasons:
        raise ValueError(f'train_cfg.cuda_graphs=True needs {"; ".join(reasons)}. Set cuda_graphs=False.')


def _form(value: Any, tensors: list[Tensor]) -> Any:
    """A key that is equal for two batches if they run the same kernels. Appends the tensors of the batch to a list."""
    if isinstance(value, Tensor):
        tensors.append(value)
        return 'tensor', tuple(value.shape), value.dtype, value.stride()
    if isinstance(value, BaseDataElement):
        return type(value), [(name, _form(each, tensors)) for name, each in value.items()]
    if isinstance(value, Mapping):
        return type(value), [(name, _form(each, tensors)) for name, each in value.items()]
    if isinstance(value, (list, tuple)):
        return type(value), [_form(each, tensors) for each in value]
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise SearchError(
        f'A batch holds a {type(value).__name__}, which a CUDA graph cannot read. Set train_cfg.cuda_graphs=False.'
    )


def _copy(value: Any, tensors: Any) -> Any:
    """The batch with other tensors, and without metainfo."""
    if isinstance(value, Tensor):
        return next(tensors)
    if isinstance(value, BaseDataElement):
        return value.new(metainfo={}, **{name: _copy(each, tensors) for name, each in value.items()})
    if isinstance(value, Mapping):
        return {name: _copy(each, tensors) for name, each in value.items()}
    if isinstance(value, (list, tuple)):
        parts: Sequence[Any] = [_copy(each, tensors) for each in value]
        if isinstance(value, tuple):
            return type(value)(*parts) if hasattr(value, '_fields') else tuple(parts)
        return parts
    return value
