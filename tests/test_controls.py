"""Controls and their view, as a browser sees them: messages out, messages in."""

import threading

import pytest

from paged_demo.views.controls import Button, Control, Line, LiveView, StepButton, TextField, choice, number


class Page:
    """A view, and what a browser would know of it."""

    def __init__(self, *rows):
        self.sent = []
        self.taken = []
        self.view = LiveView(rows, take=self.take)
        self.view.width_px, self.view.height_px = 900, 100
        self.view._send = lambda message, buffers=None: self.sent.append(message | {"buffers": buffers})

    def take(self, were_set):
        for item, value in were_set.items():
            item.receive(value)
            self.taken.append(item)
        if any(item.sent == 3 for item in were_set):
            raise ValueError("3 is not drawn")
        self.view.show(bytes([len(self.taken)]), "words", (900, 100))

    def say(self, values=None, press=None):
        """Do as a browser does, and return the answers."""
        self.sent.clear()
        values = {item.key: value for item, value in (values or {}).items()}
        self.view._handle_custom_msg({"values": values, "press": press and press.key, "is_narrow": False}, [])
        return [message["content"] for message in self.sent if message["method"] == "custom"]

    @property
    def states(self):
        return [message["state"] for message in self.sent if message["method"] == "update"]


def test_numbers_get_a_slider_and_names_a_list():
    for control, kind in [
        (number("tokens", 3, lowest=1, highest=9), "range"),
        (choice("page size", [1, 16, 256], 16), "range"),
        (choice("rate", [0.5, 1.5]), "range"),
        (choice("model", ["OPT-13B", "OPT-66B"]), "select"),
    ]:
        assert control.looks()["kind"] == kind
        assert control.looks()["count"] == len(control.options)
    assert choice("page size", [1, 16, 256], 16).looks()["texts"] == ["1", "16", "256"]
    assert number("tokens", 3, lowest=1, highest=2048).looks()["first"] == 1


def test_a_value_that_is_no_option_is_named_and_changes_nothing():
    control = choice("page size", [1, 16], 16)
    with pytest.raises(ValueError, match=r"page size must be one of \[1, 16\], got 3"):
        control.value = 3
    with pytest.raises(ValueError, match=r"page size must be one of \[5\], got 3"):
        control.offer([5], 3)
    assert (control.value, control.options) == (16, [1, 16])
    with pytest.raises(ValueError, match=r"tokens must be one of range\(1, 3\), got 7"):
        number("tokens", 7, lowest=1, highest=2)


def test_a_move_sets_the_control_and_comes_back_as_one_message_and_an_answer():
    slider = number("tokens", 0, lowest=0, highest=9)
    page = Page([slider])
    answers = page.say({slider: 7})
    assert slider.value == 7
    assert answers == [{"error": ""}]
    [update, answer] = page.sent
    assert update["state"] == {"words": "words", "num_shown": 5, "values": {slider.key: 7}, "number": 1}
    assert update["buffers"] == [b"\1"]
    assert answer["method"] == "custom"


def test_what_no_picture_follows_stays_as_it_was_set():
    page = Page([number("tokens at most", 5, lowest=0, highest=9)])
    [[tokens]] = page.view._rows
    page.view._take = lambda were_set: [item.receive(value) for item, value in were_set.items()]
    assert page.say({tokens: 7}) == [{"error": ""}]
    assert page.states == [{"values": {tokens.key: 7}}]
    assert page.sent[-1]["method"] == "custom", "after it only the values count"


def test_whether_the_page_is_narrow_is_known_before_anything_is_drawn():
    slider = number("tokens", 0, lowest=0, highest=9)
    page = Page([slider])
    seen = []
    page.view._take = lambda were_set: seen.append(page.view.is_narrow)
    for is_narrow in (True, False):
        content = {"values": {}, "press": None, "is_narrow": is_narrow}
        page.view._handle_custom_msg(content, [])
    assert seen == [True, False]


def test_other_words_for_the_same_pixels_are_another_picture():
    page = Page([])
    for words in ("one", "other"):
        page.view.show(b"1", words, (900, 100))
    assert [(state["number"], state["words"]) for state in page.states] == [(1, "one"), (2, "other")]


def test_what_two_threads_send_does_not_mix():
    line = Line()
    page = Page([line])
    with page.view.sending():
        thread = threading.Thread(target=line.say, args=["so far"])
        thread.start()
        thread.join(0.2)
        page.view.words = "of the other thread"
    thread.join()
    assert page.states == [{"words": "of the other thread"}, {"values": {line.key: "so far"}}]


def test_after_an_error_nobody_waits_for_the_rest_of_the_picture_before():
    slider = number("tokens", 0, lowest=0, highest=9)
    page = Page([slider])
    page.view.show(b"1", "words", (900, 100), is_whole=False)
    assert page.say({slider: 3}) == [{"error": "ValueError: 3 is not drawn"}]
    assert page.view.is_whole


def test_a_picture_that_is_not_whole_says_so_with_its_pixels():
    page = Page([])
    page.view.show(b"1", "words", (900, 100), is_whole=False)
    page.view.show(b"2", "words", (900, 100))
    first, second = page.states
    assert (first["is_whole"], second["is_whole"]) == (False, True)
    assert [message["buffers"] for message in page.sent] == [[b"1"], [b"2"]]


def test_a_position_beyond_the_end_is_the_end():
    slider = number("tokens", 15, lowest=10, highest=19)
    page = Page([slider])
    for position, value in [(99, 19), (-1, 10)]:
        assert page.say({slider: position}) == [{"error": ""}]
        assert slider.value == value


def test_an_error_is_answered_and_the_slider_stays_where_the_reader_put_it():
    slider = number("tokens", 0, lowest=0, highest=9)
    page = Page([slider])
    assert page.say({slider: 3}) == [{"error": "ValueError: 3 is not drawn"}]
    assert page.states == [{"values": {slider.key: 3}}]
    assert page.say({slider: 4}) == [{"error": ""}]


def test_an_interrupt_is_answered_too():
    def stop():
        raise KeyboardInterrupt

    button = Button("go", stop)
    page = Page([button])
    with pytest.raises(KeyboardInterrupt):
        page.say(press=button)
    assert page.sent[-1]["content"] == {"error": "Interrupted."}


def test_a_button_is_pressed_once_and_not_while_it_is_disabled():
    pressed = []
    button = Button("go", lambda: pressed.append(1))
    page = Page([button])
    page.say(press=button)
    button.enable(False)
    page.say(press=button)
    assert pressed == [1]
    assert page.view.values == {button.key: False}


def test_what_was_typed_is_there_when_its_button_is_pressed():
    heard = []
    button = Button("go", lambda: heard.append(field.value))
    field = TextField("prompt", "first", enter=button)
    page = Page([field], [button])
    page.say({field: "second"}, press=button)
    assert heard == ["second"]
    assert [looks["enter"] for row in page.view.rows for looks in row if "enter" in looks] == [button.key]


def test_what_a_program_changes_is_sent():
    slider, line = number("tokens", 0, lowest=0, highest=9), Line()
    page = Page([slider, line])
    line.say("so far")
    slider.value = 5
    slider.offer(range(20), 15)
    assert [state["values"] for state in page.states] == [
        {slider.key: 0, line.key: "so far"},
        {slider.key: 5, line.key: "so far"},
        {slider.key: 15, line.key: "so far"},
    ]
    assert page.view.rows[0][0]["count"] == 20


def test_a_step_button_names_its_slider():
    step = Control("step", range(1, 4), 1)
    page = Page([StepButton("next", step, 1)], [step])
    [[looks], _] = page.view.rows
    assert (looks["of"], looks["by"]) == (step.key, 1)


def test_no_thread_is_kept_for_the_next_message():
    slider = number("tokens", 0, lowest=0, highest=9)
    page = Page([slider])
    for change in (lambda: setattr(slider, "value", 5), lambda: page.say({slider: 7})):
        page.view.comm._reply_subshell_id = "that of a cell"
        change()
        assert not hasattr(page.view.comm, "_reply_subshell_id")
