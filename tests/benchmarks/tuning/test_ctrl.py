from benchmarks.tuning.ctrl import made_up_sentence, row_cost, sentence
from benchmarks.tuning.subject import made_up

ROW = {
    "UserID": 1,
    "Gender": "female",
    "Age": "18-24",
    "Occupation": "artist",
    "Title": "Heat (1995)",
    "Genres": "Action",
}
ROWS = [{**ROW, "Title": "Big (1988)"}, {**ROW, "Title": "Alien (1979)"}, ROW, {**ROW, "UserID": 2}]


def test_a_sentence_tells_of_the_row_and_of_what_the_same_user_watched_before():
    assert sentence(ROWS, 2) == (
        "This is a user, gender is female, age is 18-24, occupation is artist, who has recently watched "
        "Big (1988)|Alien (1979). This is a movie, title is Heat (1995), genre is Action."
    )
    assert "watched" not in sentence(ROWS, 0)
    assert "watched" not in sentence(ROWS, 3)


def test_reading_is_cheaper_than_training():
    cost = row_cost([sentence(ROWS, index) for index in (0, 1, 2, 3)] * 10)
    assert 0 < cost.forward_s < cost.train_s
    assert 20 < cost.tokens < 80


def test_made_up_schemas_have_the_wanted_size_and_sentences_name_every_field():
    subject = made_up(60, 3)
    assert len(subject.schema.fields) == 60
    assert {len(values) for values in subject.samples.values()} == {3}
    assert len({value for values in subject.samples.values() for value in values}) == 180
    assert made_up_sentence(subject.samples, 4).count(" is ") == 61
