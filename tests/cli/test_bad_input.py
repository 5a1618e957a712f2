"""A user's mistake costs one clear line on stderr, exit status 2, and nothing else."""

import shlex
import shutil

import pytest

TRAIN_MISTAKES = {
    # name: (options, what the line has to say)
    "missing folder": ("--data {files}/nowhere", "nowhere"),
    "nearly digits": ("--data digit", "did you mean 'digits'"),
    "folder without IDX": ("--data {files}/no_idx", "no IDX files|train-images"),
    "labels without images": ("--data {files}/only_labels", "no train images"),
    "gzip cut short": ("--data {files}/cut", "cut short"),
    "array cut short": ("--data {files}/cut.npy", "cut short"),
    "infinite": ("--data {files}/infinite.npy", "infinite|row 7"),
    "wrong rank": ("--data {files}/rank.npy", "shape|(60,)"),
    "strings": ("--data {files}/strings.npy", "numbers|<U1"),
    "empty": ("--data {files}/empty.npy", "empty"),
    "objects": ("--data {files}/objects.npy", "pickle"),
    "no such format": ("--data {files}/table.txt", ".txt"),
    "several arrays": ("--data {files}/several.npz", "data.array|a (60, 4, 3)"),
    "unmatched labels": ("--data {files}/labels.npz", "59 labels for 60 examples"),
    "unmatched IDX labels": ("--data {files}/few_labels", "59 labels for 60 examples"),
    "not pixels": (
        "--data {files}/large.npy --set data.binarization=none",
        "Bernoulli|from 0 to 1",
    ),
    "not pixels to draw": ("--data {files}/large.npy", "[0, 1]"),
    "large batch": ("--data {files}/ten.npy", "batch of 50|8 examples"),
    "large batch of digits": ("--set training.batch_size=2000", "batch of 2000|1437"),
    "no batch": ("--set training.batch_size=0", "batch_size|0"),
    "no epochs": ("--epochs 0", "epochs|0"),
    "no draws": ("--num-samples 0", "num_samples is at least 1"),
    "negative draws": ("--num-samples=-3", "num_samples is at least 1"),
    "backward draws": ("--num-samples 2 --num-backward 3", "num_backward|3 of 2"),
    "no backward draws": ("--num-backward 0", "num_backward is at least 1"),
    "no latents": ("--latent 0", "--latent 0"),
    "no units": ("--set model.hidden=[0]", "model.hidden=0"),
    "unknown bound": ("--bound iwea", "did you mean 'iwae'|elbo, iwae, jackknife, renyi"),
    "bound in capitals": ("--bound IWAE", "did you mean 'iwae'"),
    "bound with words": ("--bound renyi:half", "renyi:half"),
    "bound with too much": ("--bound elbo:3", "takes no number"),
    "bound without end": ("--bound jackknife:inf", "jackknife:inf"),
    "upper bound": ("--bound cubo", "upper bound|elbo, iwae"),
    "unknown gradient": ("--gradient dregs", "did you mean 'dreg'|vimco"),
    "gradient in need of draws": ("--gradient vimco --num-samples 1", "VIMCO|2 or more"),
    "unknown network": ("--set model.network=cnn", "convolutional, mlp"),
    "no images": (
        "--data {files}/volumes.npy --set training.batch_size=9 --set model.network=convolutional",
        "(2, 2, 2, 2)|MLP",
    ),
    "unknown activation": ("--set model.activation=rleu", "did you mean 'relu'"),
    "unknown observation": ("--set model.observation=normal", "did you mean 'log-normal'"),
    "unknown schedule": ("--set training.schedule=linear", "constant, cosine, iwae, steps"),
    "unknown binarization": ("--set data.binarization=random", "none, threshold, stochastic"),
    "no scale": ("--observation gaussian:0", "above zero"),
    "unknown prior": ("--prior mixtur:3", "did you mean 'mixture'"),
    "unknown posterior": ("--posterior fulll", "did you mean 'full'"),
    "spaces that differ": ("--prior uniform --posterior full", "real numbers|'beta'"),
    "too many components": ("--prior mixture:2000", "2000 components|1437"),
    "path of a discrete latent": (
        "--posterior bernoulli --gradient reparameterized",
        "no reparameterized|VIMCO",
    ),
    "outside a support": (
        "--data {files}/floats.npy --observation poisson",
        "Poisson explains whole numbers",
    ),
    "mixed without columns": ("--observation mixed", "for the columns of a table"),
    "constant column": ("--data {files}/constant.csv", "'long'|drop"),
    "column without an entry": ("--data '{files}/no column.csv'", "'length'|missing"),
    "row without an entry": ("--data '{files}/no row.csv'", "missing: 4"),
    "outside a column's support": (
        "--data {files}/whole.csv --set model.columns=twice=poisson",
        "column 'twice'|row",
    ),
    "family of no column": (
        "--data {files}/whole.csv --set model.columns=height=poisson",
        "'height'",
    ),
    "one family for words": ("--data {files}/whole.csv --observation student-t", "'size'|mixed"),
    "mask of nothing missing": ("--set model.mask=above", "Missing"),
    "backward learning": ("--set training.learning_rate=-1", "above zero"),
    "no validation": ("--set data.validation=0", "validation"),
    "no training": ("--set data.test=0.95", "train set would be empty"),
    "share above one": ("--set data.test=3", "[0, 1)"),
    "nothing to score": ("--set evaluation.num_samples=0", "num_samples|at least 1"),
    "nobody to score": ("--set evaluation.num_examples=0", "num_examples|at least 1"),
    "negative seed": ("--seed=-1", "seed|-1"),
    "endless epochs": ("--epochs 1" + "0" * 24, "training.epochs is a number below 2^32"),
    "endless steps": ("--epochs 4000000000", "4000000000 epochs are more steps than can be"),
    "endless number": ("--set training.learning_rate=1" + "0" * 400, "number below 2^32"),
    "endless value": ("--set model.hidden=[" + "[" * 9000, "nested too deep"),
    "infinite scale": ("--observation gaussian:1e400", "above zero and finite"),
    "infinite rate": ("--set training.learning_rate=inf", "above zero and finite"),
    "more than memory": ("--latent 100000000", "more memory than there is"),
    "no data": ("--data ''", "there is no file or folder ''"),
    "target of an array": ("--data {files}/floats.npy --target y", "--target is said of a .csv"),
    "endless seed": ("--seed 99999999999999999999", "seed"),
    "misspelled section": ("--config {files}/section.toml", "'trainin'; did you mean 'training'"),
    "misspelled key": ("--config {files}/key.toml", "'epoch'; did you mean 'epochs'"),
    "wrong type": ("--config {files}/type.toml", "training.epochs is a whole number"),
    "no TOML": ("--config {files}/broken.toml", "not valid TOML"),
    "no sections": ("--config {files}/flat.toml", "epochs"),
    "missing TOML": ("--config {files}/nowhere.toml", "nowhere.toml"),
    "setting without value": ("--set training.epochs", "section.key=value"),
    "setting misspelled": ("--set training.batchsize=3", "did you mean 'batch_size'"),
    "setting of another type": ("--set training.epochs=many", "a whole number, got 'many'"),
    "unknown option": ("--epoch 3", "--epoch"),
    "option without value": ("--epochs", "--epochs"),
    "option of another type": ("--epochs many", "--epochs|integer"),
    "nothing to resume": ("--resume --epochs 2", "no run to resume"),
    "no folder to resume": ("--resume nowhere", "nowhere does not exist"),
    "no run to resume": ("--resume {files}", "is no run"),
}


@pytest.mark.parametrize("mistake", TRAIN_MISTAKES)
def test_a_mistake_in_train(files, refused, tiny, tmp_path, mistake):
    words, said = TRAIN_MISTAKES[mistake]
    line = refused("train", *tiny, *shlex.split(words.format(files=files)))
    for phrase in said.split("|"):
        assert phrase in line, line
    # Nothing is left behind that would be in the way of a second try.
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "phrase"),
    [
        ("trian", "trian"),
        ("evaluate", "argument"),
        ("evaluate one two", "two"),
        ("--version=3", "--version"),
        ("sample run --num few", "--num"),
    ],
)
def test_a_command_line_that_makes_no_sense(refused, words, phrase):
    assert phrase in refused(*words.split())


@pytest.mark.parametrize("command", ["evaluate", "diagnose", "compare", "sample", "report"])
@pytest.mark.parametrize("place", ["nowhere", "no_run", "a_file"])
def test_what_is_no_run(refused, tmp_path, command, place):
    (tmp_path / "no_run").mkdir()
    (tmp_path / "a_file").write_text("a file")
    assert place in refused(command, tmp_path / place)


@pytest.mark.parametrize(
    ("command", "content"),
    [
        (command, content)
        for command in ("evaluate", "sample", "report", "train --resume")
        for content in ("{", "[]", '"text"', "\udcff", '{"configuration": 3}')
        # A report shows whatever there is.
        if command != "report" or not content.startswith('{"')
    ],
)
def test_a_damaged_configuration(refused, trained, tmp_path, command, content):
    (tmp_path / "run").mkdir()
    for name in ("best.safetensors", "metrics.jsonl"):
        shutil.copy(trained[0] / name, tmp_path / "run")
    file = tmp_path / "run" / "configuration.json"
    file.write_bytes(content.encode(errors="surrogateescape"))
    assert "configuration.json" in refused(*command.split(), tmp_path / "run")
    assert file.read_bytes() == content.encode(errors="surrogateescape")


@pytest.mark.parametrize("command", ["evaluate", "sample"])
@pytest.mark.parametrize("damage", ["cut", "empty", "missing", "flipped"])
def test_damaged_parameters(refused, trained, tmp_path, command, damage):
    run = tmp_path / "run"
    run.mkdir()
    shutil.copy(trained[0] / "configuration.json", run)
    content = bytearray((trained[0] / "best.safetensors").read_bytes())
    content[-5] ^= 0xFF
    match damage:
        case "cut":
            content = content[:200]
        case "empty":
            content = content[:0]
    if damage != "missing":
        (run / "best.safetensors").write_bytes(content)
    assert "best.safetensors" in refused(command, run)
    assert not (run / "evaluation.json").exists()


def test_a_run_that_came_to_nothing_is_not_in_the_way(call, tiny, tmp_path):
    run = tmp_path / "run"
    answer = call("train", run, *tiny, "--observation=gaussian:1e-30")
    assert (answer.status, "step 1" in answer.err, "Traceback" in answer.err) == (2, True, False)
    assert call("train", run, *tiny).status == 0


def test_a_folder_that_holds_a_run(refused, trained, tiny):
    run, _ = trained
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    line = refused("train", run, *tiny)
    assert "already holds a run" in line
    assert "--resume" in line
    assert before == {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--epochs 3", "training.epochs is 2 there and 3 here"),
        ("--bound elbo", "objective.bound is 'iwae' there and 'elbo' here"),
        ("--seed 4 --latent 3", "model.latent is 2 there and 3 here|training.seed is 0 there"),
        ("--config {files}/sound.toml", "training.batch_size is 50 there and 20 here"),
        ("--set data.validation=0.2", "data.validation is 0.1 there and 0.2 here"),
    ],
)
def test_resuming_with_another_configuration(refused, trained, files, words, said):
    line = refused("train", trained[0], "--resume", *words.format(files=files).split())
    for phrase in ("another configuration", *said.split("|")):
        assert phrase in line


def test_a_file_in_the_way(refused, tiny, tmp_path):
    (tmp_path / "file").write_text("in the way")
    for path in ("file", "file/run"):
        assert "can't be made" in refused("train", path, *tiny)
    assert (tmp_path / "file").read_text() == "in the way"


@pytest.mark.parametrize(
    ("words", "phrase"),
    [
        ("evaluate --num-samples 0", "--num-samples is at least 1, got 0"),
        ("evaluate --num-examples=-2", "--num-examples is at least 1, got -2"),
        ("evaluate --seed 99999999999999999999", "seed"),
        ("evaluate --method anealing", "unknown method 'anealing'"),
        ("evaluate --method ais --num-samples 10", "ais takes --num-temperatures"),
        ("evaluate --method ais --num-temperatures 0", "--num-temperatures is at least 1, got 0"),
        ("evaluate --method sandwich --gap=-1", "gap is in nats, above zero, got -1.0"),
        ("diagnose --num-examples 0", "--num-examples is at least 1, got 0"),
        ("compare --num-replicates 3", "--num-replicates"),
        ("compare --num-samples 0", "--num-samples is at least 1, got 0"),
        ("compare --bound ibae", "did you mean 'iwae'"),
        ("compare --gradient vimko", "did you mean 'vimco'"),
        ("sample --num 0", "--num is at least 1, got 0"),
        ("sample --seed 99999999999999999999", "seed"),
        ("sample --num 1 --out nowhere/samples.npz", "nowhere"),
        ("sample --num 1 --out .", "."),
    ],
)
def test_numbers_and_places_of_the_other_commands(refused, trained, words, phrase):
    command, *options = words.split()
    assert phrase in refused(command, trained[0], *options)
