from benchmarks.tuning.ctrl import made_up_sentence, row_cost
from benchmarks.tuning.subject import made_up


def test_reading_is_cheaper_than_training():
    subject = made_up(8, 16)
    cost = row_cost([made_up_sentence(subject.schema, subject.samples, number) for number in range(16)] * 3)
    assert 0 < cost.forward_s < cost.train_s
    assert 20 < cost.tokens < 80


def test_made_up_schemas_have_the_wanted_size_and_sentences_name_every_field_but_ids():
    subject = made_up(60, 3)
    assert len(subject.schema.fields) == 60
    assert {len(values) for values in subject.samples.values()} == {3}
    assert len({value for values in subject.samples.values() for value in values}) == 180
    ids = sum(name.endswith("_id") for name in subject.schema.names)
    assert ids == 6
    assert made_up_sentence(subject.schema, subject.samples, 4).count(" is ") == 61 - ids
