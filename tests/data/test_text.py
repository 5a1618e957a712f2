"""Documents from files, and the line that each bad file gets."""

import polars as pl
import pytest

from tighter._errors import InputError
from tighter.data.text import paragraphs, read_documents


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "letters" / "old").mkdir(parents=True)
    (tmp_path / "letters" / "b.txt").write_text("Second letter.\n\nWith two paragraphs.")
    (tmp_path / "letters" / "a.md").write_text("First letter.")
    (tmp_path / "letters" / "old" / "c.txt").write_text("Third letter: café.")
    (tmp_path / "letters" / "photo.png").write_bytes(b"\x89PNG\0\0")
    return tmp_path


def test_a_folder_is_a_document_a_file(folder):
    made = read_documents([folder / "letters"])
    assert [place.rpartition("/")[2] for place in made.places] == ["a.md", "b.txt", "c.txt"]
    assert made.texts[2] == "Third letter: café."


def test_a_file_is_a_document_a_paragraph(folder):
    text = "\ufeffOne\r\nline.\r\n\r\n  \r\n\r\nTwo.\r\n \r\nThree.\r\n"
    (folder / "book.txt").write_bytes(text.encode())
    made = read_documents([folder / "book.txt"])
    assert made.texts == ("One\nline.", "Two.", "Three.")
    assert made.places[1].endswith("book.txt, paragraph 2")
    assert paragraphs(" \n\n ") == []


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_a_table_is_a_document_a_row(folder, suffix):
    table = pl.DataFrame({"id": [1, 2], "text": ["one, two", "three"], "tag": ["a", "b"]})
    path = folder / f"table.{suffix}"
    table.write_csv(path) if suffix == "csv" else table.write_parquet(path)
    for made in (read_documents([f"{path}:text"]), read_documents([path], column="text")):
        assert made.texts == ("one, two", "three")
        assert made.places[1].endswith(f"table.{suffix}, row 2")
    with pytest.raises(InputError, match="has 2 columns of text: name one"):
        read_documents([path])
    with pytest.raises(InputError, match="no column 'body'"):
        read_documents([f"{path}:body"])
    with pytest.raises(InputError, match="holds no text but Int64"):
        read_documents([f"{path}:id"])


def test_the_python_reference_needs_no_file():
    made = read_documents(["python"])
    assert len(made) > 1000
    assert len(set(made.texts)) == len(made)
    assert any("lambda" in text for text in made.texts)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"\x89PNG\0\0", "binary file"),
        ("café".encode("latin-1"), "not text in UTF-8"),
        (b" \n\n ", "is empty"),
    ],
)
def test_what_is_no_text(tmp_path, content, said):
    (tmp_path / "bad.txt").write_bytes(content)
    with pytest.raises(InputError, match=said):
        read_documents([tmp_path / "bad.txt"])


def test_documents_that_are_empty_or_not_there(tmp_path):
    (tmp_path / "folder").mkdir()
    with pytest.raises(InputError, match="holds no file"):
        read_documents([tmp_path / "folder"])
    (tmp_path / "folder" / "a.txt").write_text("one")
    (tmp_path / "folder" / "b.txt").write_text("\n")
    with pytest.raises(InputError, match=r"1 of 2 documents is empty, .*b\.txt first"):
        read_documents([tmp_path / "folder"])
    (tmp_path / "t.csv").write_text("id,text\n1,one\n2,\n3,\n")
    with pytest.raises(InputError, match=r"2 of 3 documents are empty, .*row 2 first"):
        read_documents([tmp_path / "t.csv"])
    with pytest.raises(InputError, match="no file or folder"):
        read_documents([tmp_path / "nowhere.txt"])
    with pytest.raises(InputError, match="there is nothing to read"):
        read_documents([])
    with pytest.raises(InputError, match="the column 'text' is one of"):
        read_documents(["python"], column="text")


def test_an_empty_cell_among_documents_may_be_let_through(tmp_path):
    (tmp_path / "a.csv").write_text("text,n\nwords here,1\n,2\nmore,3\n")
    with pytest.raises(InputError, match=r"1 of 3 documents is empty, .*row 2 first"):
        read_documents([tmp_path / "a.csv"])
    assert read_documents([tmp_path / "a.csv"], empty=True).texts == ("words here", "", "more")
