"""What a run of `tighter topics` is made from: frozen dataclasses, as its folder stores them."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

from tighter._errors import InputError
from tighter._files import read_object
from tighter._names import unknown
from tighter.data.corpus import Corpus, Tokenizing, count_words
from tighter.data.counts import COUNTS_SUFFIX, read_counts
from tighter.data.text import PYTHON_REFERENCE, read_documents
from tighter.runs.folder import CONFIGURATION

KIND = "topics"
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
        seed: Of the splits, the parameters and every draw.
    """

    epochs: int | None = None
    batch_size: int = 200
    learning_rate: float | None = None
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
class TopicsConfiguration:
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
        if self.model.alpha is not None and not 0 < self.model.alpha < float("inf"):
            raise InputError(f"--alpha is above zero, got {self.model.alpha}")
        rate = self.training.learning_rate
        if rate is not None and not 0 < rate < float("inf"):
            raise InputError(f"--learning-rate is above zero, got {rate}")

    def to_dict(self) -> dict[str, Any]:
        """Plain nested dictionaries, as JSON has them."""
        return json.loads(json.dumps(dataclasses.asdict(self)))

    @staticmethod
    def from_dict(content: Any) -> TopicsConfiguration:
        """The configuration that `to_dict` made a dictionary.

        Raises:
            InputError: If it is none.
        """
        try:
            data = _with_tuples(content["data"])
            data["tokenizing"] = Tokenizing(**_with_tuples(data["tokenizing"]))
            return TopicsConfiguration(
                TextsConfiguration(**data),
                TopicModelConfiguration(**_with_tuples(content["model"])),
                TopicObjectiveConfiguration(**content["objective"]),
                TopicTrainingConfiguration(**content["training"]),
                TopicEvaluationConfiguration(**content["evaluation"]),
            )
        except InputError:
            raise
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(f"this is no configuration of topics ({error})") from None

    def differences(self, other: TopicsConfiguration) -> list[str]:
        """What differs, a phrase a key: "model.topics is 20 there and 30 here"."""
        theirs, ours = _flat(other.to_dict()), _flat(self.to_dict())
        return [
            f"{name} is {theirs[name]!r} there and {value!r} here"
            for name, value in ours.items()
            if theirs[name] != value
        ]


@dataclasses.dataclass(frozen=True)
class TopicsRun:
    """A folder that holds a run of topics.

    Attributes:
        path: Where it is.
        configuration: What made the run.
        vocabulary: The words.
        record: configuration.json, whole.
    """

    path: Path
    configuration: TopicsConfiguration
    vocabulary: tuple[str, ...]
    record: dict[str, Any]


VOCABULARY = "vocabulary.json"


def is_run(path: Path) -> bool:
    """Whether a folder holds a run of any kind."""
    return (path / CONFIGURATION).is_file()


def open_topics(path: Path) -> TopicsRun:
    """Read what a run of topics is.

    Raises:
        InputError: If the folder doesn't exist, is no run of topics, or is damaged.
    """
    if not path.exists():
        raise InputError(f"{path} does not exist: name a run's folder (tighter topics prints it)")
    if not is_run(path):
        raise InputError(f"{path} is no run: it holds no {CONFIGURATION}")
    record = read_object(path / CONFIGURATION)
    if record.get("kind") != KIND:
        raise InputError(f"{path} is a run of tighter train, and not one of tighter topics")
    try:
        configuration = TopicsConfiguration.from_dict(record["configuration"])
    except (InputError, KeyError) as error:
        raise InputError(f"{path / CONFIGURATION} is damaged: {error}") from None
    words = read_object(path / VOCABULARY).get("words")
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        raise InputError(f"{path / VOCABULARY} is damaged: it holds no list of words")
    return TopicsRun(path, configuration, tuple(words), record)


def read_corpus(data: TextsConfiguration) -> Corpus:
    """The corpus that a configuration speaks of.

    Raises:
        InputError: If it can't be read, or nothing can be learned from it.
    """
    counted = [source for source in data.sources if Path(source).suffix.lower() == COUNTS_SUFFIX]
    if not counted:
        if data.vocabulary is not None:
            raise InputError("--vocabulary is about counts (.npz), and texts make their own")
        documents = read_documents(data.sources, column=data.column)
        return count_words(documents, data.tokenizing)
    if len(data.sources) > 1:
        raise InputError(f"{counted[0]} is a corpus of its own: name it alone")
    if data.column is not None:
        raise InputError(f"--column is about tables, and {counted[0]} holds counts: leave it out")
    return read_counts(counted[0], data.vocabulary)


def _with_tuples(values: dict[str, Any]) -> dict[str, Any]:
    return {name: tuple(v) if isinstance(v, list) else v for name, v in values.items()}


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in values.items():
        nested = isinstance(value, dict)
        flat |= _flat(value, f"{prefix}{name}.") if nested else {f"{prefix}{name}": value}
    return flat
