"""What a run of `tighter topics` is made from: frozen dataclasses, as its folder stores them."""

from __future__ import annotations

import dataclasses
import typing
from typing import Any

from tighter._checks import require
from tighter._errors import InputError
from tighter._names import unknown
from tighter.data.corpus import Tokenizing
from tighter.data.text import PYTHON_REFERENCE
from tighter.runs.configuration import Sections

TOPICS = "topics"
MODELS = ("lda", "prodlda")
_TOKENIZING = Tokenizing()


@dataclasses.dataclass(frozen=True)
class TextsConfiguration:
    """What the documents are.

    Attributes:
        sources: Texts as `tighter.data.text.read_documents` takes them, or one .npz of counts.
        column: The tables' column of texts.
        vocabulary: The words of the counts.
        tokenizing: How texts become words.
        validation: Share of the training documents held out for validation.
        test: Share of the documents held out for testing, where there is no official test set.
    """

    sources: tuple[str, ...] = (PYTHON_REFERENCE,)
    column: str | None = None
    vocabulary: str | None = None
    tokenizing: Tokenizing = _TOKENIZING
    validation: float = 0.1
    test: float = 0.1


@dataclasses.dataclass(frozen=True)
class TopicModelConfiguration:
    """The model of topics.

    Attributes:
        family: "lda", a document's words from a mixture of topics; "prodlda", from a product.
        topics: How many topics.
        alpha: Concentration of the Dirichlet prior of a document's proportions; left out, the
            model's own.
        posterior: "dirichlet", "logistic-normal" or "coordinate-ascent"; left out, the last, or
            logistic-normal of prodlda.
        hidden: Widths of the encoder's hidden layers.
    """

    family: str = "lda"
    topics: int = 50
    alpha: float | None = None
    posterior: str | None = None
    hidden: tuple[int, ...] = (100, 100)


@dataclasses.dataclass(frozen=True)
class TopicObjectiveConfiguration:
    """What is maximized, and how its gradient is estimated.

    Attributes:
        bound: "elbo", "iwae", ….
        gradient: "reparameterized", "doubly-reparameterized", ….
        num_samples: Draws in a bound, K.
    """

    bound: str = "elbo"
    gradient: str = "reparameterized"
    num_samples: int = 1


@dataclasses.dataclass(frozen=True)
class TopicTrainingConfiguration:
    """How it is trained.

    Attributes:
        epochs: Passes over the documents; left out, 20, or 25 of prodlda, more if these are
            few steps.
        batch_size: Documents a step.
        learning_rate: Adam's; left out, .05, or .01 of prodlda.
        precision: Of the products in networks, "float32" or "bfloat16".
        seed: Of the splits, the parameters and every draw.
    """

    epochs: int | None = None
    batch_size: int = 200
    learning_rate: float | None = None
    precision: str = "float32"
    seed: int = 0


@dataclasses.dataclass(frozen=True)
class TopicEvaluationConfiguration:
    """How it is scored.

    Attributes:
        num_samples: Draws of the log-likelihood of a test document.
        num_examples: Test documents at most, the first ones.
    """

    num_samples: int = 1000
    num_examples: int = 500


@dataclasses.dataclass(frozen=True)
class TopicsConfiguration(Sections):
    """Everything that makes a run."""

    data: TextsConfiguration = TextsConfiguration()
    model: TopicModelConfiguration = TopicModelConfiguration()
    objective: TopicObjectiveConfiguration = TopicObjectiveConfiguration()
    training: TopicTrainingConfiguration = TopicTrainingConfiguration()
    evaluation: TopicEvaluationConfiguration = TopicEvaluationConfiguration()

    def __post_init__(self) -> None:
        if self.model.family not in MODELS:
            raise unknown("model of topics", self.model.family, MODELS)
        least = {
            "--topics": (self.model.topics, 2),
            "--num-samples": (self.objective.num_samples, 1),
            "--epochs": (self.training.epochs, 1),
            "--batch-size": (self.training.batch_size, 1),
        }
        for name, (number, low) in least.items():
            if number is not None and not low <= number < 2**31:
                bound = f"at least {low}" if number < low else "below 2^31"
                raise InputError(f"{name} is {bound}, got {number}")
        rates = {"--alpha": self.model.alpha, "--learning-rate": self.training.learning_rate}
        for name, rate in rates.items():
            above = rate is None or 0 < rate < float("inf")
            require(above, f"{name} is above zero, got {rate}")

    @property
    def kind(self) -> str:
        """The kind of model."""
        return TOPICS

    @staticmethod
    def from_dict(content: Any) -> TopicsConfiguration:
        """The configuration that `to_dict` made a dictionary.

        Raises:
            InputError: If it is none.
        """
        try:
            return _rebuilt(TopicsConfiguration, content)
        except InputError:
            raise
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise InputError(f"this is no configuration of topics ({error})") from None


def _rebuilt(kind: Any, content: Any) -> Any:
    """A frozen dataclass, and those in it, from what JSON makes of them."""
    hints = typing.get_type_hints(kind)
    values = {name: tuple(v) if isinstance(v, list) else v for name, v in content.items()}
    for name in values:
        if dataclasses.is_dataclass(hints[name]):
            values[name] = _rebuilt(hints[name], values[name])
    return kind(**values)
