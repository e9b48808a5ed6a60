"""The page in a real browser, over real HTTP and real streams."""

from __future__ import annotations

import base64
import io
import re
from pathlib import Path

import pytest
import soundfile
from browser.scripted_server import (
    BASE_REPLY,
    REPLY,
    SAD,
    Break,
    Script,
    Serving,
    Wait,
    direct,
    heard,
    refusal,
    thinking,
)
from left_run import write_sound
from playwright.sync_api import Browser, BrowserContext, Locator, Page, expect

pytestmark = pytest.mark.browser


def upload(page: Page, path: Path) -> None:
    page.locator("#file").set_input_files(path)
    expect(page.locator("#sound-note")).to_contain_text(path.name)


@pytest.fixture
def asking(page: Page, tmp_path: Path) -> Page:
    """The page with a sound in it, ready to ask."""
    upload(page, write_sound(tmp_path / "tone.wav"))
    expect(page.locator("#send")).to_be_enabled()
    return page


def answer(page: Page, number: int = 0) -> Locator:
    return page.locator(".answer").nth(number)


def ask(page: Page) -> None:
    page.locator("#send").click()


def audio_of(body: dict[str, object]) -> tuple[str, bytes]:
    (message,) = body["messages"]  # pyright: ignore[reportGeneralTypeIssues]
    sound = next(part for part in message["content"] if part["type"] == "input_audio")
    return sound["input_audio"]["format"], base64.b64decode(sound["input_audio"]["data"])


# -- what goes in -------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", ["wav", "flac", "ogg", "mp3"])
def test_a_file_is_sent_as_it_is(page: Page, script: Script, tmp_path: Path, ending: str) -> None:
    path = write_sound(tmp_path / f"tone.{ending}")
    upload(page, path)
    expect(page.locator("#sound-note")).to_contain_text(re.compile(r"tone\.\w+ · 1\.\d s"))
    ask(page)
    expect(answer(page).locator(".reply")).to_have_text("".join(REPLY))
    assert audio_of(script.asked[0]) == (ending, path.read_bytes())
    assert script.asked[0]["model"] == "D"
    assert script.asked[0]["stream"] is True


def test_what_is_recorded_is_sent_as_16_bit_wav_at_16_khz(page: Page, script: Script) -> None:
    page.locator("#record").click()
    expect(page.locator("#record")).to_have_text("Stop")
    expect(page.locator("#sound-note")).to_contain_text("Recording · 2 s")
    page.locator("#record").click()
    expect(page.locator("#sound-note")).to_contain_text("Your recording")
    shown = page.locator("#sound-note").inner_text()  # how long it was depends on the machine
    ask(page)
    expect(answer(page).locator(".reply")).to_have_text("".join(REPLY))
    ending, sound = audio_of(script.asked[0])
    info = soundfile.info(io.BytesIO(sound))
    assert (ending, info.format, info.subtype) == ("wav", "WAV", "PCM_16")
    assert (info.samplerate, info.channels) == (16000, 1)
    assert info.duration >= 1.5
    assert shown == f"Your recording · {info.duration:.1f} s"
    samples, _ = soundfile.read(io.BytesIO(sound))
    assert abs(samples).max() > 0.01  # the browser's pretended microphone beeps


def test_asking_while_recording_sends_what_was_said_so_far(page: Page, script: Script) -> None:
    page.locator("#record").click()
    expect(page.locator("#sound-note")).to_contain_text("Recording · 1 s")
    ask(page)
    expect(answer(page).locator(".reply")).to_have_text("".join(REPLY))
    assert audio_of(script.asked[0])[0] == "wav"
    expect(page.locator("#record")).to_have_text("Record")


def test_a_recording_ends_at_what_the_server_takes(page: Page, script: Script) -> None:
    script.max_audio_s = 1.0
    page.reload()
    page.locator("#record").click()
    expect(page.locator("#sound-note")).to_contain_text("Your recording · 1.")
    expect(page.locator("#record")).to_have_text("Record")


def test_a_sample_of_the_run_can_be_asked_with(page: Page, script: Script, left: Path) -> None:
    chip = page.locator("#sample-list button").first
    expect(chip).to_contain_text("The letter came on day")
    emotions = page.locator("#sample-list .how").all_text_contents()
    assert len(emotions) == len(set(emotions)) == 6  # one of each, as far as they go
    chip.click()
    ask(page)
    expect(answer(page).locator(".reply")).to_have_text("".join(REPLY))
    ending, sound = audio_of(script.asked[0])
    sounds = (left.parents[1] / "data" / "audio").iterdir()
    assert ending == "flac"
    assert sound in {path.read_bytes() for path in sounds}


def test_a_file_may_be_dropped(page: Page, tmp_path: Path) -> None:
    sound = base64.b64encode(write_sound(tmp_path / "x.wav").read_bytes()).decode()
    transfer = page.evaluate_handle(
        """sound => {
            const bytes = Uint8Array.from(atob(sound), letter => letter.charCodeAt(0));
            const transfer = new DataTransfer();
            transfer.items.add(new File([bytes], "dropped.wav", { type: "audio/wav" }));
            return transfer;
        }""",
        sound,
    )
    page.locator("#stage").dispatch_event("drop", {"dataTransfer": transfer})
    expect(page.locator("#sound-note")).to_have_text("dropped.wav · 1.0 s")


def test_a_sound_that_is_still_read_cannot_be_asked_with(
    asking: Page, tmp_path: Path, script: Script
) -> None:
    asking.evaluate(
        """() => {
            const read = File.prototype.arrayBuffer;
            File.prototype.arrayBuffer = async function () {
                await new Promise(done => setTimeout(done, this.name.startsWith("slow") ? 600 : 0));
                return read.call(this);
            };
        }"""
    )
    slow, quick = (write_sound(tmp_path / f"{name}.wav") for name in ("slow", "quick"))
    asking.locator("#file").set_input_files(slow)
    expect(asking.locator("#sound-note")).to_have_text("Reading the sound")
    expect(asking.locator("#send")).to_be_disabled()
    upload(asking, quick)
    asking.wait_for_timeout(800)  # the slow one comes in, and is no longer wanted
    expect(asking.locator("#sound-note")).to_contain_text("quick.wav")


def test_words_alone_and_a_question_beside_a_sound(
    page: Page, script: Script, tmp_path: Path
) -> None:
    expect(page.locator("#send")).to_be_disabled()
    page.locator("#question").fill("  My sister moved away. ")
    ask(page)
    expect(answer(page).locator(".figures")).to_contain_text("27 tokens")
    upload(page, write_sound(tmp_path / "tone.wav"))
    page.locator("#question").fill("How does she feel?")
    ask(page)
    expect(answer(page).locator(".figures")).to_contain_text("27 tokens")
    words, both = (body["messages"][0]["content"] for body in script.asked)
    assert words == [{"type": "text", "text": "My sister moved away."}]
    assert [part["type"] for part in both] == ["input_audio", "text"]
    assert both[1]["text"] == "How does she feel?"


def test_a_sound_is_drawn_and_can_be_heard_again(asking: Page) -> None:
    drawn = """() => {
        const canvas = document.getElementById("wave");
        const pixels = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
        return pixels.filter((value, i) => i % 4 === 3 && value > 0).length;
    }"""
    assert asking.evaluate(drawn) > 5000
    play = asking.locator("#play")
    play.click()
    expect(play).to_have_text("Pause")
    expect(play).to_have_text("Play")  # a second later it is over
    asking.locator("#seek").fill("500")
    expect(asking.locator("#seek")).to_have_attribute("aria-valuetext", "0.5 seconds")
    asking.locator("#remove").click()
    expect(asking.locator("#invitation")).to_be_visible()
    expect(asking.locator("#send")).to_be_disabled()


# -- what comes out -----------------------------------------------------------------------------


def test_words_are_there_before_the_answer_ends(asking: Page, script: Script) -> None:
    script.answers["D"] = [heard(SAD), {"content": "You "}, Wait(), {"content": "waited."}]
    ask(asking)
    reply = answer(asking).locator(".reply")
    expect(reply).to_have_text("You")
    expect(answer(asking)).to_have_attribute("aria-busy", "true")
    expect(asking.locator("#send")).to_be_disabled()
    script.go_on()
    expect(reply).to_have_text("You waited.")
    expect(answer(asking)).not_to_have_attribute("aria-busy", "true")
    expect(asking.locator("#send")).to_be_enabled()
    expect(asking.locator("#spoken")).to_have_text("D: heard sad. You waited.")


def test_steps_unfold_one_by_one(asking: Page, script: Script) -> None:
    pieces = thinking()
    script.answers["D-think"] = [part for piece in pieces for part in (piece, Wait())]
    asking.get_by_text("Think first").click()
    ask(asking)
    steps = answer(asking).locator(".steps li")
    expect(steps).to_have_count(1)
    expect(steps.nth(0)).to_contain_text("sad")
    script.go_on(2)  # the emotion's chunk, and half a heading
    expect(answer(asking).locator(".heard")).to_be_visible()
    expect(steps).to_have_count(1)
    expect(answer(asking).locator(".unparsed")).to_be_hidden()
    script.go_on()
    expect(steps).to_have_count(2)
    expect(steps.nth(1)).to_contain_text("be told that waiting was not foolish")
    script.go_on(len(pieces))
    expect(answer(asking).locator(".reply")).to_have_text("".join(REPLY))
    names = answer(asking).locator(".step-name").all_text_contents()
    assert names == ["Emotion", "Intent", "Psychology", "Strategy"]
    steps.nth(2).locator("summary").click()
    expect(steps.nth(2).locator("p")).to_be_hidden()
    assert script.asked[0]["model"] == "D-think"


def test_reasoning_of_another_form_is_shown_as_it_is(asking: Page, script: Script) -> None:
    script.answers["D-think"] = [{"reasoning_content": "Hmm, <b>hard</b>."}, {"content": "Yes."}]
    asking.get_by_text("Think first").click()
    ask(asking)
    expect(answer(asking).locator(".unparsed")).to_have_text("Hmm, <b>hard</b>.")
    expect(answer(asking).locator(".heard")).to_be_hidden()


def test_the_emotion_and_how_sure_the_model_is(asking: Page) -> None:
    ask(asking)
    expect(answer(asking).locator(".verdict")).to_have_text(re.compile(r"Heard\s+sad\s+83 % sure"))
    bars = answer(asking).locator(".emotions li")
    expect(bars).to_have_count(7)
    expect(bars.nth(2)).to_have_text(re.compile(r"sad\s*83 %"))
    asking.wait_for_timeout(700)  # they grow
    widths = {
        bar.get_attribute("data-emotion"): bar.locator(".bar").bounding_box() for bar in bars.all()
    }
    scale = bars.nth(2).locator(".scale").bounding_box()
    assert scale is not None
    sad, angry = widths["sad"], widths["angry"]
    assert sad is not None
    assert angry is not None
    assert sad["width"] == pytest.approx(0.83 * scale["width"], abs=1)
    assert angry["width"] == pytest.approx(0.05 * scale["width"], abs=1)


def test_base_and_aligned_answer_beside_each_other(asking: Page, script: Script) -> None:
    for name in ("base", "D"):
        script.answers[name].insert(2, Wait())
    asking.get_by_text("Beside the base model").click()
    ask(asking)
    expect(asking.locator(".answer")).to_have_count(2)
    for number in (0, 1):  # both have begun, neither is done
        expect(answer(asking, number).locator(".reply")).not_to_be_empty()
        expect(answer(asking, number)).to_have_attribute("aria-busy", "true")
    script.go_on(2)
    expect(answer(asking, 0).locator(".who")).to_have_text("Base model")
    expect(answer(asking, 0).locator(".reply")).to_have_text("".join(BASE_REPLY))
    expect(answer(asking, 1).locator(".reply")).to_have_text("".join(REPLY))
    boxes = "nodes => nodes.map(node => node.getBoundingClientRect().toJSON())"
    left, right = asking.locator(".answer").evaluate_all(boxes)
    assert left["top"] == right["top"]
    assert left["right"] < right["left"]
    assert {body["model"] for body in script.asked} == {"D", "base"}
    assert len({str(body["messages"]) for body in script.asked}) == 1


def test_route_and_adapter_choose_the_model(page: Page, script: Script, tmp_path: Path) -> None:
    script.answers["E"] = direct("Another one.")  # not served with reasoning
    page.reload()
    upload(page, write_sound(tmp_path / "tone.wav"))
    page.get_by_text("Think first").click()
    page.locator("#adapter").select_option("base")
    expect(page.locator("#compare")).to_be_disabled()
    ask(page)
    expect(answer(page).locator(".reply")).to_have_text("".join(BASE_REPLY))
    page.locator("#adapter").select_option("E")
    expect(page.locator("input[value=explicit]")).to_be_disabled()
    expect(page.locator("input[value=direct]")).to_be_checked()
    ask(page)
    expect(answer(page).locator(".reply")).to_have_text("Another one.")
    assert [body["model"] for body in script.asked] == ["base-think", "E"]


def test_what_a_model_says_is_text_and_never_markup(asking: Page, script: Script) -> None:
    evil = '<img src=x onerror="document.title=1"><script>document.title = 2</script>'
    script.answers["D-think"] = [
        {"reasoning_content": f"Emotion: {evil}\nIntent: {evil}\n"},
        heard({"label": evil, "probabilities": {evil: 0.9, "x": "1", "y": 7, "z": -1}}),
        {"content": evil},
    ]
    asking.get_by_text("Think first").click()
    ask(asking)
    expect(answer(asking).locator(".reply")).to_have_text(evil)
    expect(answer(asking).locator(".label")).to_have_text(evil)
    expect(answer(asking).locator(".emotions li")).to_have_count(1)
    assert asking.locator(".answer img, .answer script").count() == 0
    assert asking.title() == "CogAudio"


def test_an_answer_that_was_cut_off_says_so(asking: Page, script: Script) -> None:
    script.finish = "length"
    ask(asking)
    expect(answer(asking).locator(".trouble-here")).to_contain_text("cut off")


def test_an_answer_that_is_not_in_form_says_so(asking: Page, script: Script) -> None:
    script.answers["D"] = [*direct("Well."), {"cogaudio": {"steps": None, "parse": "no_response"}}]
    ask(asking)
    expect(answer(asking).locator(".figures")).to_contain_text("form it was taught: no response")


def test_cancelling_ends_the_request(asking: Page, script: Script) -> None:
    script.answers["D"] = [{"content": "You "}, Wait(), {"content": "waited."}]
    for stop in ("click", "Escape"):
        ask(asking)
        expect(answer(asking).locator(".reply")).to_have_text("You")
        cancel = asking.locator("#cancel")
        cancel.click() if stop == "click" else asking.keyboard.press("Escape")
        expect(answer(asking).locator(".trouble-here")).to_have_text("Stopped.")
        expect(cancel).to_be_hidden()
        expect(asking.locator("#trouble")).to_be_hidden()
        expect(asking.locator("#send")).to_be_focused()
    asking.wait_for_timeout(200)
    assert script.dropped == ["D", "D"]


# -- the shelf ----------------------------------------------------------------------------------


def test_a_runs_report_and_rollouts(page: Page, context: BrowserContext) -> None:
    run = page.locator(".run")
    expect(run.locator("h3")).to_have_text("quickstart")
    expect(run.locator(".models")).to_have_text("taught D")
    with context.expect_page() as opened:
        run.get_by_role("link", name="Report").click()
    paragraph = opened.value.locator("p")
    expect(paragraph).to_have_text("What the run did.")
    expect(paragraph).to_have_css("color", "rgb(1, 2, 3)")  # its own style may apply
    run.locator("summary").click()
    lines = run.locator(".rollouts > li")
    expect(lines).to_have_count(8)
    expect(lines.first.locator(".answered")).to_have_text("I hear you at step 10.")
    expect(lines.first.locator(".facts")).to_have_text(
        "neutral · step 10 · thought first · reward 0.50"
    )
    run.get_by_role("button", name="Show more").click()
    expect(lines).to_have_count(16)
    play = lines.first.get_by_role("button", name="Play")
    play.click()
    expect(play).to_have_attribute("data-playing", "true")
    expect(play).to_have_attribute("data-playing", "false")
    lines.first.get_by_role("button", name="Ask with it").click()
    expect(page.locator("#sound-note")).to_contain_text("The letter came on day 0.")


# -- trouble ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("response", "words"),
    [
        (
            refusal(429, "full", **{"Retry-After": "7"}),
            "All places are taken. Ask again in 7 seconds.",
        ),
        (
            refusal(413, "the clip lasts 70 s, at most 60 s"),
            "The clip lasts 70 s, at most 60 s. Use a",
        ),
        (refusal(415, "not audio"), "Not audio. Use a wav, mp3, flac or ogg file."),
        (refusal(400, "max_tokens must be >= 1"), "Max_tokens must be >= 1. Change it"),
        (refusal(404, "no model 'D'"), "That is not served here any more. Choose another"),
        (refusal(503, "loading"), "The model is not ready. Ask again in a moment."),
        (refusal(500, "<b>secret</b>"), "The server failed at this. Ask again; its log says why."),
    ],
)
def test_a_refusal_says_what_is_wrong_and_what_to_do(
    asking: Page, script: Script, watched, response, words: str
) -> None:
    script.answers["D"] = [response]
    ask(asking)
    expect(asking.locator("#trouble")).to_contain_text(words)
    expect(answer(asking).locator(".trouble-here")).to_have_text("No answer.")
    watched.expect_complaints()


def test_after_a_refusal_one_button_asks_again(asking: Page, script: Script, watched) -> None:
    script.answers["D"] = [refusal(429, "full")]
    ask(asking)
    expect(asking.locator("#trouble")).to_contain_text("Ask again in a moment.")
    script.answers["D"] = direct()
    asking.get_by_role("button", name="Ask again").click()
    expect(answer(asking).locator(".reply")).to_have_text("".join(REPLY))
    expect(asking.locator("#trouble")).to_be_hidden()
    watched.expect_complaints()


@pytest.mark.parametrize("end", [Break(), {"error": {"message": "the engine died"}}])
def test_an_answer_that_breaks_off_keeps_what_was_said(
    asking: Page, script: Script, watched, end: object
) -> None:
    script.answers["D"] = [{"content": "You waited "}, end]
    ask(asking)
    said = "broke off" if isinstance(end, Break) else "The engine died."
    expect(asking.locator("#trouble")).to_contain_text(said)
    expect(answer(asking).locator(".reply")).to_have_text("You waited")
    expect(answer(asking).locator(".trouble-here")).to_have_text("It ends here.")
    expect(asking.locator("#send")).to_be_enabled()
    watched.expect_complaints()


def test_one_of_two_may_fail_and_the_other_goes_on(asking: Page, script: Script, watched) -> None:
    script.answers["base"] = [refusal(429, "full")]
    asking.get_by_text("Beside the base model").click()
    ask(asking)
    expect(asking.locator("#trouble")).to_contain_text("All places are taken.")
    expect(answer(asking, 1).locator(".reply")).to_have_text("".join(REPLY))
    watched.expect_complaints()


def test_a_server_that_is_gone(asking: Page, server: Serving, watched) -> None:
    server.stop()
    ask(asking)
    expect(asking.locator("#trouble")).to_contain_text("The server does not answer. See that")
    expect(asking.locator("#state")).to_have_text("No server")
    watched.expect_complaints()


def test_a_model_that_is_still_loading_is_waited_for(page: Page, script: Script, watched) -> None:
    script.ready = False
    page.reload()
    expect(page.locator("#state")).to_have_text("The model is loading")
    script.ready = True
    expect(page.locator("#state")).to_have_text("Ready · D")
    watched.expect_complaints()


@pytest.mark.parametrize("content", [b"", b"this is no sound", b"RIFF"])
def test_a_file_that_is_no_sound(page: Page, tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "note.txt"
    path.write_bytes(content)
    page.locator("#file").set_input_files(path)
    expect(page.locator("#trouble")).to_be_visible()
    expect(page.locator("#send")).to_be_disabled()


def test_a_microphone_that_is_refused(browser: Browser, server: Serving) -> None:
    context = browser.new_context()
    page = context.new_page()
    page.add_init_script(
        "navigator.mediaDevices.getUserMedia = "
        "() => Promise.reject(new DOMException('no', 'NotAllowedError'))"
    )
    page.goto(server.address)
    page.locator("#record").click()
    expect(page.locator("#trouble")).to_contain_text("not allowed to use the microphone. Allow it")
    expect(page.locator("#record")).to_have_text("Record")
    context.close()


class TestKeys:
    @pytest.fixture
    def script(self) -> Script:
        return Script(keys=("open-sesame-now-please",))

    def test_a_key_is_asked_for_and_kept_in_this_tab_alone(
        self, page: Page, context: BrowserContext, watched, tmp_path: Path
    ) -> None:
        field = page.get_by_label("This server asks for a key")
        expect(field).to_be_focused()
        field.fill("wrong")
        page.keyboard.press("Enter")
        expect(page.locator("#trouble")).to_contain_text("does not know this key. Enter another")
        expect(field).to_be_focused()
        field.fill("open-sesame-now-please")
        page.keyboard.press("Enter")
        expect(page.locator("#state")).to_have_text("Ready · D")
        expect(field).to_be_hidden()
        page.reload()
        expect(page.locator("#state")).to_have_text("Ready · D")
        page.locator("#sample-list button").first.click()  # sounds travel with the key too
        ask(page)
        expect(answer(page).locator(".reply")).to_have_text("".join(REPLY))
        with context.expect_page() as opened:  # a link cannot carry a key: it carries a seal
            page.get_by_role("link", name="Report").click()
        expect(opened.value.locator("p")).to_have_text("What the run did.")
        assert "sesame" not in opened.value.url
        assert page.evaluate("JSON.stringify(localStorage) + document.cookie") == "{}"
        page.get_by_role("button", name="Forget the key").click()
        expect(field).to_be_visible()
        watched.expect_complaints()


# -- for everybody ------------------------------------------------------------------------------


def test_everything_works_by_keyboard_alone(page: Page, script: Script) -> None:
    expect(page.locator("#sample-list li")).to_have_count(6)
    reached: list[str] = []
    for _ in range(40):
        page.keyboard.press("Tab")
        here = page.evaluate("document.activeElement.id || document.activeElement.className")
        reached.append(here)
        outline = page.evaluate(
            """() => {
                const here = document.activeElement;
                const shown = [here, here.nextElementSibling, here.parentElement].filter(Boolean);
                return shown.some(node => parseFloat(getComputedStyle(node).outlineWidth) >= 2
                    && getComputedStyle(node).outlineStyle !== "none");
            }"""
        )
        assert outline or here == "", f"no visible focus on {here}"
        if here == "chip" and not page.locator("#play").is_visible():
            page.keyboard.press("Enter")
            expect(page.locator("#sound-note")).to_contain_text("The letter came")
        elif page.evaluate("document.activeElement.name") == "route":
            page.keyboard.press("ArrowRight")
            expect(page.locator("input[value=explicit]")).to_be_checked()
        elif here == "compare":
            page.keyboard.press("Space")
        elif here == "send":
            page.keyboard.press("Enter")
            break
    assert {"record", "choose", "chip", "question", "adapter", "compare", "send"} <= {*reached}
    expect(page.locator(".answer[aria-busy]")).to_have_count(0)
    expect(answer(page, 1).locator(".reply")).to_have_text("".join(REPLY))
    assert {body["model"] for body in script.asked} == {"D-think", "base-think"}


def test_a_question_is_sent_by_enter(asking: Page) -> None:
    asking.locator("#question").fill("Why?")
    asking.keyboard.press("Enter")
    expect(answer(asking).locator(".reply")).to_have_text("".join(REPLY))


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 720, 1180])
def test_every_width_and_scheme(asking: Page, script: Script, watched, width: int, scheme) -> None:
    asking.set_viewport_size({"width": width, "height": 780})
    asking.emulate_media(color_scheme=scheme)
    long = "Donaudampfschifffahrtsgesellschaftskapitän" * 4
    script.answers["D-think"] = thinking(long)
    asking.get_by_text("Think first").click()
    asking.get_by_text("Beside the base model").click()
    ask(asking)
    expect(answer(asking, 1).locator(".reply")).to_have_text(long)
    asking.locator(".run summary").click()
    expect(asking.locator(".rollouts > li")).to_have_count(8)
    script.answers["D-think"] = [refusal(400, long)]
    ask(asking)
    expect(asking.locator("#trouble")).to_be_visible()
    watched.expect_complaints()
    assert asking.evaluate("document.documentElement.scrollWidth") == width
    wide = """() => [...document.querySelectorAll("main *")].filter(node => {
        const box = node.getBoundingClientRect();
        return box.width > 1 && (box.left < 0 || box.right > innerWidth + 0.5);
    }).map(node => node.className || node.id)"""
    assert asking.evaluate(wide) == []
    asking.wait_for_timeout(300)  # colours change softly
    assert asking.evaluate(TOO_FAINT) == []


TOO_FAINT = """() => {
    const parse = colour => colour.match(/[\\d.]+/g).map(Number);
    const light = ([r, g, b]) => [r, g, b].map(v => v / 255)
        .map(v => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
        .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
    const ground = node => {
        for (; node; node = node.parentElement) {
            const colour = parse(getComputedStyle(node).backgroundColor);
            if (colour.length < 4 || colour[3] > 0) return colour;
        }
        return [255, 255, 255];
    };
    const texts = [...document.querySelectorAll("main *, header *")].filter(node =>
        [...node.childNodes].some(child => child.nodeType === 3 && child.data.trim())
        && node.checkVisibility() && !node.closest(":disabled, :has(> :disabled)"));
    return texts.map(node => {
        const [one, two] = [parse(getComputedStyle(node).color), ground(node)].map(light);
        const contrast = (Math.max(one, two) + 0.05) / (Math.min(one, two) + 0.05);
        return [node.className || node.id, node.textContent.slice(0, 20), contrast];
    }).filter(([, , contrast]) => contrast < 4.5);
}"""
"""Texts of less than WCAG's contrast of 4.5 to what they stand on."""


def test_dark_and_light_are_two_pages(page: Page) -> None:
    grounds = []
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        grounds.append(page.evaluate("getComputedStyle(document.body).backgroundColor"))
    assert grounds == ["rgb(246, 247, 249)", "rgb(18, 21, 28)"]


def test_who_wants_no_motion_gets_none(asking: Page) -> None:
    asking.emulate_media(reduced_motion="reduce")
    ask(asking)
    expect(answer(asking).locator(".figures")).not_to_be_empty()
    moving = "document.getAnimations().filter(({ playState }) => playState === 'running').length"
    assert asking.evaluate(moving) == 0
