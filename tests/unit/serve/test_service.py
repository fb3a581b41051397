"""What the service answers: the document of `aigid predict --json`, or an error of one shape."""

import asyncio
import base64
import io
import json
import tempfile
import zipfile
from hashlib import sha256

import numpy as np
import pytest

from aigid.core.errors import InputError
from aigid.detectors import bundle as bundles
from aigid.metrics.decisions import EvaluationSettings
from aigid.prediction import DEFAULT_BUNDLE, verdict
from aigid.serve import documents, engine
from aigid.serve.limits import ApiKeys
from tests.helpers import hostile
from tests.helpers.cli import aigid
from tests.helpers.service import ask, grain, service_of

ADDED = {"version", "bundle_sha256", "image_sha256", "provenance", "cautions", "latency_ms", "width", "height"}


def form(*contents, names=()):
    names = names or [f"{number}.png" for number in range(len(contents))]
    return {"files": [("files", pair) for pair in zip(names, contents, strict=True)]}


def as_json(**fields):
    return {"json": fields}


def error_of(answer):
    """The code of an answer that must be an error."""
    assert set(answer.json()["error"]) == {"code", "message"}, answer.text
    return answer.json()["error"]["code"]


def zipped():
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("a.png", grain())
    return out.getvalue()


def test_the_answer_is_predicts_document_and_who_says_it(service, bundle, tmp_path):
    (tmp_path / "a.png").write_bytes(grain())
    expected = json.loads(aigid("predict", "a.png", "--model", str(bundle), "--stable", "--json", cwd=tmp_path).stdout)
    (answer,) = ask(service, form(grain(), names=["a.png"]) | {"params": {"stable": "true"}})
    (document,) = answer.json()["results"]
    assert {name: document[name] for name in expected} == expected
    assert set(document) - set(expected) == ADDED
    assert document["image_sha256"] == sha256(grain()).hexdigest()
    assert document["bundle_sha256"] == json.loads((bundle / "model.json").read_text())["sha256"]
    assert (document["width"], document["height"]) == (40, 40)


def test_every_way_of_sending_gives_the_same_verdict(service):
    text = base64.b64encode(grain()).decode()
    calls = [
        form(grain(), grain(1)),
        as_json(images=[{"data": text, "name": "a"}, {"data": f"data:image/png;base64,{text}"}]),
        {"content": grain(), "headers": {"Content-Type": "image/png"}},
    ]
    several, in_json, body = (answer.json()["results"] for answer in ask(service, *calls))
    scores = [several[0]["score"], in_json[0]["score"], in_json[1]["score"], body[0]["score"]]
    assert scores == [scores[0]] * 4
    assert several[1]["score"] != scores[0]
    assert [row["path"] for row in in_json] == ["a", "image-2"]


def test_an_occlusion_map_on_demand(service):
    (answer,) = ask(service, form(grain()) | {"params": {"explain": "true"}})
    assert np.shape(answer.json()["results"][0]["occlusion_map"]) == (8, 8)


BAD = {  # name: (call, HTTP status, code)
    "text": (form(b"hello there"), 415, "not_an_image"),
    "zip": (form(zipped(), names=["a.png"]), 415, "not_an_image"),
    "huge": (form(hostile.bombs()["png_claims"][1]), 413, "too_many_pixels"),
    "cut": (form(grain()[:-60]), 422, "truncated"),
    "empty": (form(b""), 422, "empty"),
    "bytes": (form(bytes(70_000)), 413, "too_many_bytes"),
    "body": ({"content": bytes(70_000), "headers": {"Content-Type": "image/png"}}, 413, "too_many_bytes"),
    "files": (form(*[b"x"] * 4), 413, "too_many_files"),
    "json files": (as_json(images=[{"data": ""}] * 4), 413, "too_many_files"),
    "no files": (as_json(images=[]), 422, "no_image"),
    "field": ({"data": {"stable": "true"}, **form(grain())}, 422, "malformed"),
    "boundary": ({"content": b"--x", "headers": {"Content-Type": "multipart/form-data"}}, 422, "malformed"),
    "json": ({"content": b"{", "headers": {"Content-Type": "application/json"}}, 422, "malformed"),
    "json key": (as_json(image="a"), 422, "malformed"),
    "base64": (as_json(images=[{"data": "?"}]), 422, "malformed"),
    "type": ({"content": b"x", "headers": {"Content-Type": "text/plain"}}, 415, "media_type"),
    "model": (form(grain()) | {"params": {"model": "nosuch"}}, 404, "unknown_model"),
    "option": (form(grain()) | {"params": {"stable": "perhaps"}}, 422, "malformed"),
    "urls": (as_json(urls=["http://127.0.0.1/a.png"]), 403, "urls_not_allowed"),
    "path": ({"url": "/nosuch"}, 404, "not_found"),
    "method": ({"method": "GET"}, 405, "method_not_allowed"),
}


@pytest.mark.parametrize("name", BAD)
def test_mistakes_are_errors_of_one_shape(bundle, name):
    call, status, code = BAD[name]
    with service_of(bundle, files=3, file_bytes=60_000) as service:
        (answer,) = ask(service, call)
    assert (answer.status_code, error_of(answer)) == (status, code)


def test_hostile_files_are_named_and_spoil_nothing(service):
    files = hostile.frauds() | hostile.bombs()
    rng = np.random.default_rng(0)
    files |= {f"mutated {number}": ("", hostile.mutated(grain(), rng)) for number in range(12)}
    assert len(files) >= 50
    *answers, good = ask(service, *(form(content) for _, content in files.values()), form(grain()))
    for (status, _), answer in zip(files.values(), answers, strict=True):
        if status:
            assert error_of(answer) == status
            assert answer.status_code in (413, 415, 422)
        else:
            assert answer.status_code in (200, 413, 415, 422)
    assert good.json()["results"][0]["status"] == "ok"


def test_an_unreadable_image_beside_another_keeps_its_row(service):
    mixed, alone = ask(service, form(grain(), b"no"), form(b"no") | {"params": {"rows": "true"}})
    assert [row["status"] for row in mixed.json()["results"]] == ["ok", "not_an_image"]
    assert (alone.status_code, alone.json()["results"][0]["status"]) == (200, "not_an_image")


def test_what_arrives_together_is_scored_together_and_to_the_same_scores(bundle):
    calls = [form(grain(seed)) for seed in range(12)]
    with service_of(bundle) as service:
        sizes = []
        service.engine.on_batch = sizes.append
        together = [answer.json()["results"][0]["score"] for answer in ask(service, *calls)]
        assert sum(sizes) == 12
        assert max(sizes) > 1
        alone = [ask(service, call)[0].json()["results"][0]["score"] for call in calls]
    assert together == pytest.approx(alone, abs=1e-12)


def test_an_image_that_breaks_the_scoring_spoils_no_other(bundle, monkeypatch):
    original = engine.predict_inspected

    def breaks(predictors, batch, *more, **options):
        if any(image.path == "bad.png" for image in batch):
            raise ZeroDivisionError
        return original(predictors, batch, *more, **options)

    monkeypatch.setattr(engine, "predict_inspected", breaks)
    with service_of(bundle) as service:
        bad, *good = ask(service, form(grain(), names=["bad.png"]), *(form(grain(seed)) for seed in range(5)))
    assert (bad.status_code, error_of(bad)) == (500, "internal")
    assert [answer.status_code for answer in good] == [200] * 5


def test_more_requests_than_allowed_are_asked_to_come_again(bundle):
    with service_of(bundle, requests=1) as service:
        answers = ask(service, *(form(grain(seed)) for seed in range(9)))
        refused = [answer for answer in answers if answer.status_code == 429]
        assert 0 < len(refused) < 9
        assert all(error_of(answer) == "busy" and int(answer.headers["Retry-After"]) >= 1 for answer in refused)
        assert ask(service, form(grain()))[0].status_code == 200
    with service_of(bundle, held_bytes=100) as service:
        assert error_of(ask(service, form(grain()))[0]) == "busy"
        assert service.buffered == service.open == service.waiting == 0


def test_time_ends_for_senders_and_for_verdicts(bundle):
    async def drip():
        yield b"\x89PNG"
        await asyncio.sleep(5)

    with service_of(bundle, seconds=0.05) as service:
        slow = {"content": drip(), "headers": {"Content-Type": "image/png"}}
        late, slow = ask(service, form(grain(size=400)) | {"params": {"explain": "true"}}, slow)
        assert (late.status_code, error_of(late)) == (503, "too_slow")
        assert (slow.status_code, error_of(slow)) == (408, "too_slow")


def test_a_service_that_stops_is_healthy_and_not_ready(bundle):
    with service_of(bundle) as service:
        assert ask(service, {"method": "GET", "url": "/ready"})[0].status_code == 200
        service.draining = True
        detect, ready, health = ask(
            service, form(grain()), *({"method": "GET", "url": f"/{p}"} for p in ("ready", "health"))
        )
    assert (error_of(detect), error_of(ready)) == ("not_ready", "not_ready")
    assert (detect.status_code, ready.status_code, health.status_code) == (503, 503, 200)
    assert "Retry-After" in detect.headers


def test_keys_are_wanted_where_there_are_some(service, tmp_path):
    (tmp_path / "keys").write_text(f"# staff\n{sha256(b'open').hexdigest()}  # anna\n")
    keys = ApiKeys(tmp_path / "keys")
    for key, status in (("open", 200), ("shut", 401), ("", 401)):
        calls = [form(grain()), {"method": "GET", "url": "/metrics"}]
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        for answer in ask(service, *(call | {"headers": headers} for call in calls), keys=keys):
            assert answer.status_code == status
    assert ask(service, {"method": "GET", "url": "/health"}, keys=keys)[0].status_code == 200
    for text, expected in (("", "no keys in it"), ("open\n", "key 1 is no sha256")):
        (tmp_path / "keys").write_text(text)
        with pytest.raises(InputError, match=expected):
            ApiKeys(tmp_path / "keys")


def test_other_names_of_the_host_and_pages_of_other_sites_are_refused(service):
    hosts = frozenset({"127.0.0.1", "localhost"})
    for headers, expected in (
        ({"Host": "localhost:8000"}, 200),
        ({"Host": "attacker.example"}, 400),
        ({"Sec-Fetch-Site": "same-origin"}, 200),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
    ):
        assert ask(service, form(grain()) | {"headers": headers}, hosts=hosts)[0].status_code == expected


def test_nothing_is_stored_and_of_an_image_the_log_has_the_hash(bundle, tmp_path, monkeypatch, capfd):
    def refuse(*_args, **_options):
        raise AssertionError("a temporary file")

    for name in ("TemporaryFile", "NamedTemporaryFile", "mkstemp", "mkdtemp"):
        monkeypatch.setattr(tempfile, name, refuse)
    large = grain(size=800)
    assert len(large) > 1_100_000  # more than Starlette's parser keeps in memory
    with service_of(bundle) as service:
        stable = {"params": {"stable": "true", "explain": "true"}}
        assert ask(service, form(large, names=["secret name.png"]) | stable)[0].status_code == 200
        metrics = ask(service, {"method": "GET", "url": "/metrics"})[0].text
    assert not (tmp_path / "cache").exists()
    log = capfd.readouterr().err
    assert sha256(large).hexdigest() in log
    for text in (log, metrics):
        assert "secret" not in text
    assert sha256(large).hexdigest() not in metrics
    assert 'aigid_requests_total{path="/v1/detect",status="200"} 1.0' in metrics


def test_models_say_what_they_know_and_the_schema_what_may_be_asked(service):
    models, schema = ask(service, *({"method": "GET", "url": url} for url in ("/v1/models", "/openapi.json")))
    (model,) = models.json()["models"]
    assert (model["name"], model["detector"]) == ("bundle", "probe")
    assert model["training_images"] == {"grain": 8, "real": 9}
    assert models.json()["limits"]["files"] == 16
    assert {"/v1/detect", "/v1/models", "/health", "/ready", "/metrics"} <= set(schema.json()["paths"])


def test_bands_are_where_verdicts_change():
    model = bundles.load(DEFAULT_BUNDLE)
    rule = verdict.decision_rule_for(model, EvaluationSettings())
    bands = documents.bands(rule)
    assert 0 < bands["real_below"] < bands["generated_above"] < 1
    for score in np.linspace(0.001, 0.999, 500):
        decision = verdict.decide(score, rule)
        expected = "generated" if decision.probability > bands["generated_above"] else "uncertain"
        expected = "real" if decision.probability <= bands["real_below"] else expected
        assert decision.verdict == expected, score


def test_the_page_runs_its_own_code_alone(service):
    (answer,) = ask(service, {"method": "GET", "url": "/"})
    policy = answer.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert policy.count("'sha256-") == 2
    for word in ("innerHTML", "insertAdjacentHTML", "document.write", "//cdn", " style=", 'onclick="'):
        assert word not in documents.HTML
