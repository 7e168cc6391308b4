from kdharness.core.printable import printable


def test_escape_codes_are_written_out_and_text_stays() -> None:
    assert printable("a\x1b]0;owned\x07b\x1b[2Jc\rd\x9b31m") == r"a\x1b]0;owned\x07b\x1b[2Jc\x0dd\x9b31m"
    assert printable("Überlänge:\tloss → 0.5\n学") == "Überlänge:\tloss → 0.5\n学"
