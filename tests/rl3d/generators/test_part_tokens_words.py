"""Nouns and colours that are read off words: which word is pointed at, and when none is."""

import torch

from rl3d.generators.part_codes import COLOR_TOKEN, END, OBJECT, PART, SECOND, SIZES
from rl3d.generators.part_tokens_words import NAMED, Words, noun_of, nouns_so_far

NOUNS = PART - 1


def _said(*nouns: int) -> torch.Tensor:
    """Words (1, t, v) of which each stands for one noun, and for the first colour."""
    colors = torch.zeros(len(nouns), SIZES[COLOR_TOKEN])
    colors[:, 0] = 1
    return torch.cat([torch.eye(NOUNS)[list(nouns)], colors], 1).unsqueeze(0)


def _even(marks: tuple[float, float, float]) -> Words:
    """Points at all words alike, but for the marks: of a noun that is there, of how many, and of
    the last."""
    words = Words(4)
    with torch.no_grad():
        words.query.weight.fill_(0.25)
        words.key.weight.zero_()
        words.marks.copy_(torch.tensor(marks)[:, None].expand_as(words.marks))
        words.end.weight.zero_()
        words.end.bias.zero_()
    return words


def _read(
    words: Words, k: int, there: dict[int, int], last: int | None, examples: int = 0, text: bool = True
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    said, y = _said(5, 9), torch.ones(1, 1, 4)
    keys = words(torch.zeros(1, 3, 4), torch.zeros(1, 2, 4), torch.ones(1, 2, dtype=torch.bool))[0]
    mask = torch.tensor([[True, text, text, *[True] * examples]])
    objects, latest = torch.zeros(1, 1, NOUNS), torch.zeros(1, 1, NOUNS)
    for noun, count in there.items():
        objects[0, 0, noun] = count
    if last is not None:
        latest[0, 0, last] = 1
    with torch.no_grad():
        none, values, more = words.read(k, y, keys, said, mask, objects, latest)
    return none[0, 0, 0], values[0, 0], more[0, 0, 0]


def test_words_whose_objects_are_there_are_marked() -> None:
    assert _read(_even((0, 0, 0)), OBJECT, {5: 1}, 5)[1][[5, 9]].tolist() == [0.5, 0.5]
    assert _read(_even((-9, 0, 0)), OBJECT, {5: 1}, None)[1][9] > 0.99  # what is there is left alone
    assert _read(_even((0, 0, 9)), OBJECT, {5: 1}, 5)[1][5] > 0.99  # or comes again
    many, few = (_read(_even((0, -9, 0)), OBJECT, {5: count}, 5)[1][5] for count in (3, 1))
    assert many < few < 0.5
    assert _read(_even((-9, 0, 0)), OBJECT, {5: 1}, None)[2] >= 0  # something is left to come
    assert _read(_even((-9, 0, 0)), OBJECT, {5: 1, 9: 1}, None)[2] < -5


def test_no_word_names_an_object_only_without_text_or_with_examples() -> None:
    words = _even((0, 0, 0))
    assert _read(words, OBJECT, {}, None)[0] == 0
    assert _read(words, OBJECT, {}, None, examples=2)[0] > 0.3
    assert _read(words, OBJECT, {}, None, text=False)[0] == 1
    assert _read(words, COLOR_TOKEN, {}, None)[0] > 0.3


def test_values_that_words_name_keep_their_share() -> None:
    """Of an object, the share of nouns against parts and the end is as before; a colour is drawn as
    before with the probability of no word."""
    logits = torch.randn(2, SIZES[OBJECT], generator=torch.manual_seed(0))
    said = torch.eye(NOUNS)[[5, 9]]
    words, none = Words(4), torch.zeros(2, 1)
    out = words.named(OBJECT, logits, none, said, none).softmax(-1)
    before = logits.softmax(-1)
    assert torch.allclose(out[:, [END, *range(1, PART)]].sum(-1), 1 - before[:, PART], atol=1e-3)
    assert torch.allclose(out[:, PART], before[:, PART], atol=1e-3)
    assert out[:, NAMED[OBJECT]].argmax(-1).tolist() == [5, 9]
    colors = torch.randn(1, SIZES[COLOR_TOKEN], generator=torch.manual_seed(1))
    half = 0.5 * torch.eye(SIZES[COLOR_TOKEN])[:1]
    mixed = words.named(COLOR_TOKEN, colors, torch.full((1, 1), 0.5), half, none[:1]).softmax(-1)
    assert torch.allclose(mixed, 0.5 * colors.softmax(-1) + half, atol=1e-4)
    colors = torch.randn(1, SIZES[SECOND], generator=torch.manual_seed(1))
    mixed = words.named(SECOND, colors, torch.full((1, 1), 0.5), half, none[:1]).softmax(-1)
    assert torch.allclose(mixed[:, 0], colors.softmax(-1)[:, 0], atol=1e-4)  # no second colour


def test_the_end_takes_what_words_leave() -> None:
    logits = torch.randn(2, SIZES[OBJECT], generator=torch.manual_seed(0))
    said, none = torch.eye(NOUNS)[[5, 9]], torch.zeros(2, 1)
    more, less = (
        Words(4).named(OBJECT, logits, none, said, torch.full((2, 1), odds)).softmax(-1) for odds in (9.0, -9.0)
    )
    before = logits.softmax(-1)
    assert torch.allclose(more[:, PART], before[:, PART], atol=1e-3) and torch.allclose(less[:, PART], before[:, PART])
    share = 1 - before[:, PART]
    assert (more[:, END] < 1e-3 * share).all() and (less[:, END] > 0.999 * share).all()


def test_a_key_tells_of_the_words_around_it() -> None:
    torch.manual_seed(0)
    words, text = Words(4), torch.randn(1, 8, 4)
    with torch.no_grad():
        words.around.normal_()
    short = torch.tensor([[True] * 5 + [False] * 2])
    keys = words(text, text[:, 1:], short)[0][:, :, :6]
    for moved, same in ((5, 1), (2, 0), (6, 5)):  # the third word away is told of; padding never is
        changed = text.clone()
        changed[:, moved] += 1
        assert torch.equal(words(changed, text[:, 1:], short)[0][:, :, same], keys[:, :, same])
    changed = text.clone()
    changed[:, 4] += 1
    assert not torch.equal(words(changed, text[:, 1:], short)[0][:, :, 1], keys[:, :, 1])


def test_nouns_are_counted_before_each_element() -> None:
    tokens = torch.full((1, 4, len(SIZES)), -1)
    tokens[0, :, OBJECT] = torch.tensor([6, PART, 6, 10])
    objects = torch.tensor([[True, False, True, True]])
    counts = nouns_so_far(tokens, objects)
    assert counts[0, :, 5].tolist() == [0, 1, 1, 2] and counts[0, :, 9].tolist() == [0, 0, 0, 0]
    assert noun_of(tokens[0, 3]).argmax() == 9 and noun_of(torch.full((len(SIZES),), -1)).sum() == 0
