"""Text, character by character: the reference of the Python language, or a file of your own."""

from pathlib import Path
from pydoc_data import topics

from graphlth.data.text import TextTask, read_text
from graphlth.settings.types import BatchSize, Context, Count, Steps


def text(
    *,
    path: str = "",
    context: Context = 64,
    batch_size: BatchSize = 16,
    evaluate_every: Steps = 50,
    train_size: Count = 0,
    val_size: Count = 0,
    test_size: Count = 0,
) -> TextTask:
    """The next character of a text; an epoch is a span of `evaluate_every` iterations.

    Without a `path` the text is what Python says of its own language (`pydoc_data.topics`), which
    is another in every version of Python: a ticket of one is refused in the next.

    Args:
        path: a file of your own, in UTF-8 or with a byte-order mark.
        context: characters that a window has before its last; none before it are seen.
        batch_size: windows in a training batch.
        evaluate_every: iterations of training between two evaluations.
        train_size: windows to train on, the first; 0 for all that neither validate nor test.
        val_size: windows that validate; 0 for a tenth of all.
        test_size: windows that test, the last; 0 for a tenth of all.
    """
    whole = (
        read_text(Path(path)) if path else "".join(topics.topics[n] for n in sorted(topics.topics))
    )
    return TextTask(
        whole, context=context, batch_size=batch_size, evaluate_every=evaluate_every,
        train_size=train_size, val_size=val_size, test_size=test_size,
        name=Path(path).stem if path else "text",
    )  # fmt: skip
