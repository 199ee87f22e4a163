"""The evaluators against other implementations, on random cases: pycocotools, Shapely, and plain ones written here."""

import contextlib
import functools
import io
import json
import os
import pathlib
import subprocess

import numpy as np
import pytest

BINARY = pathlib.Path(os.environ.get("PACTORY_BINARY_DIR", "build/release")) / "bin/score_cases"
pytestmark = pytest.mark.skipif(not BINARY.exists(), reason=f"{BINARY} is not built")


def ask(what, cases):
    """What the product says of each case."""
    done = subprocess.run([BINARY], input=json.dumps({"what": what, "cases": cases}), capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def array(values):
    return {"shape": list(values.shape), "values": values.ravel().tolist()}


def filled_up(lines):
    length = max(map(len, lines), default=0)
    return np.array([[*line, *[-1] * (length - len(line))] for line in lines], np.int64).reshape(len(lines), length)


def edit_distance(a, b):
    """By the definition, from the sequences' ends."""
    @functools.cache
    def between(i, j):
        if i == 0 or j == 0:
            return i + j
        return min(between(i - 1, j) + 1, between(i, j - 1) + 1, between(i - 1, j - 1) + (a[i - 1] != b[j - 1]))
    return between(len(a), len(b))


def test_edits_are_those_of_the_definition():
    rng = np.random.default_rng(0)
    cases, expected = [], []
    for _ in range(200):
        lines = [[rng.integers(1, 5, rng.integers(0, 13)).tolist() for _ in range(4)] for _ in range(2)]
        cases.append({"answers": array(filled_up(lines[0])), "expected": array(filled_up(lines[1]))})
        expected.append({"edits": sum(map(edit_distance, *lines)), "characters": sum(map(len, lines[1]))})
    assert ask("edits", cases) == expected
    assert sum(case["edits"] for case in expected) > 1000


def test_readings_are_those_of_the_definition():
    rng = np.random.default_rng(1)
    outputs = [rng.integers(0, 4, (1, 12, 5)).astype(float) for _ in range(100)]
    for output, reading in zip(outputs, ask("ctc_reading", [{"outputs": array(output)} for output in outputs])):
        steps = output[0].argmax(-1)
        line = [int(c) for previous, c in zip([-1, *steps], steps) if c != previous and c != 0]
        assert reading == line + [-1] * (12 - len(line))


def ctc_loss(logits, line):
    """-log p(line) by the forward algorithm (Graves et al. 2006, equations 5 to 8), in float64."""
    log_p = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    states = [0]
    for label in line:
        states += [label, 0]
    alpha = np.full(len(states), -np.inf)
    alpha[:2] = log_p[0, states[:2]]
    for step in log_p[1:]:
        before = alpha.copy()
        for s, state in enumerate(states):
            ways = before[max(0, s - 1):s + 1]
            if s > 1 and state != 0 and state != states[s - 2]:
                ways = before[s - 2:s + 1]
            alpha[s] = np.logaddexp.reduce(ways) + step[state]
    return -np.logaddexp.reduce(alpha[-2:])


def test_ctc_loss_is_that_of_the_forward_algorithm():
    rng = np.random.default_rng(2)
    cases, expected = [], []
    for _ in range(60):
        lines = [rng.integers(1, 6, rng.integers(1, 6)).tolist() for _ in range(3)]
        logits = 3 * rng.standard_normal((3, 12, 6))
        cases.append({"logits": array(logits), "labels": array(filled_up(lines))})
        expected.append(np.mean([ctc_loss(logits[i], line) / len(line) for i, line in enumerate(lines)]))
    np.testing.assert_allclose(ask("ctc_loss", cases), expected, rtol=1e-5)


def random_objects(rng, images, classes):
    """Objects of each image, and boxes that a detector may give for them: near, doubled, of another class, or of nothing."""
    whole = lambda values: np.round(values).tolist()
    expected, found = [], []
    for _ in range(images):
        objects, boxes = [], []
        for _ in range(rng.integers(0, 9)):
            x, y, w, h = rng.uniform((0, 0, 8, 8), (400, 400, 200, 200))
            category = int(rng.integers(classes))
            objects.append({"bbox": whole([x, y, w, h]), "category": category, "crowd": bool(rng.random() < 0.1)})
            for _ in range(rng.integers(0, 4)):
                near = np.array([x, y, w, h]) + rng.normal(0, rng.choice([1, 6, 25]), 4)
                other = int(rng.integers(classes)) if rng.random() < 0.15 else category
                # Few different scores, so that many are equal.
                boxes.append({"bbox": whole(np.maximum(near, [0, 0, 2, 2])), "category": other, "score": int(rng.integers(1, 65)) / 64})
        for _ in range(rng.integers(0, 4)):
            boxes.append({"bbox": whole(rng.uniform((0, 0, 5, 5), (400, 400, 90, 90))), "category": int(rng.integers(classes)),
                          "score": int(rng.integers(1, 33)) / 64})
        expected.append(objects)
        found.append(boxes)
    return expected, found


def by_pycocotools(expected, found, classes):
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval
    truth = {"images": [{"id": i} for i in range(len(expected))], "categories": [{"id": c} for c in range(classes)], "annotations": [
        {"id": 1000 * i + n + 1, "image_id": i, "category_id": o["category"], "bbox": o["bbox"], "area": o["bbox"][2] * o["bbox"][3],
         "iscrowd": int(o["crowd"])} for i, objects in enumerate(expected) for n, o in enumerate(objects)]}
    results = [{"image_id": i, "category_id": b["category"], "bbox": b["bbox"], "score": b["score"]}
               for i, boxes in enumerate(found) for b in boxes]
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = {"info": {}, **truth}
        coco.createIndex()
        evaluation = COCOeval(coco, coco.loadRes(results), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return evaluation.stats[:3]


def test_average_precision_is_that_of_pycocotools():
    pytest.importorskip("pycocotools")
    rng = np.random.default_rng(3)

    def corners(box):
        x, y, w, h = box["bbox"]
        return [x, y, x + w, y + h]

    worst, means = 0, []
    for case in range(60):
        classes = 1 + case % 5
        expected, found = random_objects(rng, 20 if case else 200, classes)
        # The 101st box of an image and class does not count.
        found[0] += [{"bbox": [0, 0, 3 + i % 7, 4], "category": 0, "score": 0.5} for i in range(150)]
        answer = ask("average_precision", [{
            "expected": [[{"category": o["category"], "ignored": o["crowd"], "corners": corners(o)} for o in image] for image in expected],
            "found": [[{"category": b["category"], "score": b["score"], "corners": corners(b)} for b in image] for image in found]}])[0]
        independent = by_pycocotools(expected, found, classes)
        worst = max(worst, *np.abs(np.array([answer["mean"], answer["at50"], answer["at75"]]) - independent))
        means.append(independent[0])
    assert worst < 1e-9, worst
    assert min(means) < 0.3 < max(means), "cases must be neither all easy nor all hard"


def iou(a, b):
    both = np.prod(np.maximum(0, np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2])))
    return both / (np.prod(a[2:] - a[:2]) + np.prod(b[2:] - b[:2]) - both)


def find_boxes(rows, layout, min_score, nms_iou, limit):
    """(score, class, corners), from the highest score down."""
    if layout == "CENTER_CLASSES_FIRST":
        rows = rows.T
    if layout == "CORNERS_SCORE_CLASS":
        all_kept = [(row[4], int(row[5]), row[:4]) for row in rows if row[4] >= min_score]
    else:
        head = 5 if layout == "CENTER_OBJECTNESS_CLASSES" else 4
        scores = rows[:, head:] * (rows[:, 4:5] if head == 5 else np.float32(1))
        corners = np.concatenate([rows[:, :2] - rows[:, 2:4] / 2, rows[:, :2] + rows[:, 2:4] / 2], 1)
        all_kept = []
        for category in range(scores.shape[1]):
            left = [i for i in np.argsort(-scores[:, category], kind="stable") if scores[i, category] >= min_score]
            while left:
                all_kept.append((scores[left[0], category], category, corners[left[0]]))
                left = [i for i in left[1:] if iou(corners[left[0]], corners[i]) <= nms_iou]
    return sorted(all_kept, key=lambda box: -box[0])[:limit]


@pytest.mark.parametrize("layout", ["CORNERS_SCORE_CLASS", "CENTER_OBJECTNESS_CLASSES", "CENTER_CLASSES", "CENTER_CLASSES_FIRST"])
def test_boxes_are_those_of_a_plain_suppression(layout):
    rng = np.random.default_rng(4)
    config = {"boxes": {"layout": layout, "min_score": 0.2, "nms_iou": 0.4, "max_boxes": 25}}
    cases = []
    for _ in range(20):
        centers = rng.uniform(20, 200, (80, 2))[rng.integers(0, 30, 80)] + rng.normal(0, 4, (80, 2))
        sizes = rng.uniform(20, 60, (80, 2))
        if layout == "CORNERS_SCORE_CLASS":
            rows = np.concatenate([centers - sizes / 2, centers + sizes / 2, rng.random((80, 1)), rng.integers(0, 3, (80, 1))], 1)
        else:
            rows = np.concatenate([centers, sizes, rng.random((80, 4 if layout == "CENTER_OBJECTNESS_CLASSES" else 3))], 1)
        cases.append(np.float32(rows.T if layout == "CENTER_CLASSES_FIRST" else rows))
    for rows, answer in zip(cases, ask("boxes", [{"outputs": array(rows[None]), "config": config} for rows in cases])):
        expected = find_boxes(rows, layout, 0.2, 0.4, 25)
        assert [box["category"] for box in answer[0]] == [category for _, category, _ in expected]
        np.testing.assert_allclose([box["corners"] for box in answer[0]], [corners for *_, corners in expected], atol=1e-4)
        np.testing.assert_allclose([box["score"] for box in answer[0]], [score for score, *_ in expected], rtol=1e-6)


def star(rng, center, radius, corners=9):
    """A polygon that does not cross itself."""
    angles = np.sort(rng.uniform(0, 2 * np.pi, corners))
    lengths = radius * rng.uniform(0.4, 1, corners)
    return center + np.stack([lengths * np.cos(angles), lengths * np.sin(angles)], 1)


def turned(rng, center, sides):
    """A rectangle."""
    angle = rng.uniform(0, np.pi)
    axes = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    return center + np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * sides / 2 @ axes


def test_overlaps_of_polygons_are_shapelys():
    shapely = pytest.importorskip("shapely")
    rng = np.random.default_rng(5)
    cases, expected = [], []
    while len(cases) < 300:
        pair = [np.float32(star(rng, rng.uniform(40, 60, 2), rng.uniform(10, 40))) for _ in range(2)]
        shapes = [shapely.Polygon(points) for points in pair]
        # Angles may leave out half of the circle, and the centre with it.
        if not all(shape.is_valid for shape in shapes):
            continue
        cases.append({"first": pair[0].ravel().tolist(), "second": pair[1].ravel().tolist()})
        expected.append([shapes[0].area, shapes[1].area, shapes[0].intersection(shapes[1]).area])
    answers = ask("overlap", cases)
    np.testing.assert_allclose([[a["first"], a["second"], a["both"]] for a in answers], expected, rtol=1e-3, atol=0.05)


def match(shapely, found, expected):
    """ICDAR's rule: pairs above an IoU of 0.5, without what lies in a part to ignore."""
    ignored = [shape for shape, is_ignored in expected if is_ignored]
    right = [shape for shape, is_ignored in expected if not is_ignored]
    found = [f for f in found if not any(f.intersection(i).area / f.area > 0.5 for i in ignored)]
    free, common = list(found), 0
    for shape in right:
        for candidate in free:
            if shape.intersection(candidate).area / shape.union(candidate).area > 0.5:
                free.remove(candidate)
                common += 1
                break
    return {"found": len(found), "expected": len(right), "common": common}


def test_matched_text_regions_are_those_of_a_second_implementation():
    shapely = pytest.importorskip("shapely")
    rng = np.random.default_rng(6)
    cases, expected = [], []
    for _ in range(80):
        case, sums = {"found": [], "expected": []}, {"found": 0, "expected": 0, "common": 0}
        for _ in range(5):
            found, right = [], []
            for _ in range(rng.integers(0, 12)):
                center, sides = rng.uniform(50, 450, 2), rng.uniform((30, 10), (120, 30))
                outline = turned(rng, center, sides)
                right.append((np.float32(outline), bool(rng.random() < 0.2)))
                for _ in range(rng.integers(0, 3)):
                    found.append(np.float32(outline + rng.normal(0, rng.choice([1, 4, 9]), (1, 2)) + rng.normal(0, 1, (4, 2))))
            case["found"].append([{"corners": f.ravel().tolist()} for f in found])
            case["expected"].append([{"corners": r.ravel().tolist(), "ignored": ignored} for r, ignored in right])
            counts = match(shapely, [shapely.Polygon(f) for f in found], [(shapely.Polygon(r), ignored) for r, ignored in right])
            sums = {key: sums[key] + counts[key] for key in sums}
        cases.append(case)
        expected.append(sums)
    assert ask("hmean", cases) == expected
    total = {key: sum(case[key] for case in expected) for key in expected[0]}
    assert 0.3 < 2 * total["common"] / (total["found"] + total["expected"]) < 0.8, total


def components(bitmap):
    """Sets of pixels (x, y) that hang together, diagonals too."""
    left, parts = {(x, y) for y, x in np.argwhere(bitmap)}, []
    while left:
        part, edge = set(), [left.pop()]
        while edge:
            x, y = edge.pop()
            part.add((x, y))
            around = {(x + i, y + j) for i in (-1, 0, 1) for j in (-1, 0, 1)} & left
            left -= around
            edge += around
        parts.append(np.array(sorted(part)))
    return parts


def smallest_rectangle(points):
    """The corners of the rectangle with the least area: one of its sides lies on an edge of the convex hull."""
    import shapely
    hull = shapely.get_coordinates(shapely.MultiPoint(points).convex_hull)
    best = None
    for edge in np.diff(hull, axis=0):
        along = edge / np.linalg.norm(edge)
        axes = np.array([along, [-along[1], along[0]]])
        low, high = (hull @ axes.T).min(0), (hull @ axes.T).max(0)
        if best is None or np.prod(high - low) < best[0]:
            best = np.prod(high - low), np.array([low, [high[0], low[1]], high, [low[0], high[1]]]) @ axes
    return best[1]


def shorter_side(corners):
    return min(np.linalg.norm(corners[1] - corners[0]), np.linalg.norm(corners[2] - corners[1]))


def around(shapely, pixels):
    """What the outermost pixels' centres go around: between any 3 or 4 neighbours."""
    known = set(map(tuple, pixels.tolist()))
    blocks = []
    for x, y in known | {(x - 1, y) for x, y in known} | {(x, y - 1) for x, y in known}:
        corners = [c for c in ((x, y), (x + 1, y), (x + 1, y + 1), (x, y + 1)) if c in known]
        if len(corners) > 2:
            blocks.append(shapely.Polygon(corners))
    # A single pixel may hang on by a corner.
    return max(shapely.get_parts(shapely.union_all(blocks)), key=lambda part: part.area)


def find_regions(shapely, probabilities, config):
    """DB's post-processing, on sets of pixels: (scores that the region may have, outline)."""
    regions = []
    rows, columns = np.mgrid[:probabilities.shape[0], :probabilities.shape[1]]
    for pixels in components(probabilities > 0.3):
        if np.ptp(pixels, 0).min() < 2:
            continue
        rectangle = smallest_rectangle(pixels)
        if shorter_side(rectangle) < 3:
            continue
        outline = shapely.Polygon(rectangle)
        if config["shape"] == "POLYGON":
            outline = shapely.Polygon(around(shapely, pixels).exterior)
        # Corners that lie on pixels may fall on the next one by the last bit of a number.
        on_pixels = [shapely.Polygon(np.floor(shapely.get_coordinates(outline) + bit)).buffer(0.3) for bit in (-1e-3, 1e-3)]
        scores = [probabilities[shapely.contains_xy(shape, columns, rows)].mean() for shape in on_pixels]
        if max(scores) < 0.6:
            continue
        grown = outline.buffer(outline.area * config["unclip_ratio"] / outline.length)
        if config["shape"] == "QUAD":
            grown = shapely.Polygon(smallest_rectangle(shapely.get_coordinates(grown)))
        corners = np.clip(shapely.get_coordinates(grown), 0, probabilities.shape[::-1])
        regions.append((scores, shapely.Polygon(corners).buffer(0)))
    return regions


def text_map(rng, draw, space):
    """Probabilities: noise, lines that are sure, and some that are not, inside `space`."""
    shapely = pytest.importorskip("shapely")
    rows, columns = np.mgrid[:160, :200]
    probabilities = rng.uniform(0, 0.25, rows.shape)
    taken = []
    for _ in range(20):
        shape = draw(shapely)
        if any(shape.distance(other) < 4 for other in taken) or not shapely.box(*space).contains(shape):
            continue
        taken.append(shape)
        inside = shapely.contains_xy(shape, columns, rows)
        probabilities[inside] = rng.uniform(*((0.8, 1) if rng.random() < 0.8 else (0.31, 0.45)), inside.sum())
    return np.float32(probabilities)


@pytest.mark.parametrize("shape", ["QUAD", "POLYGON"])
def test_text_regions_are_those_of_a_second_implementation(shape):
    shapely = pytest.importorskip("shapely")
    rng = np.random.default_rng(7)

    def line(shapely):
        return shapely.Polygon(turned(rng, rng.uniform((20, 20), (180, 140)), rng.uniform((25, 6), (70, 14))))

    def curved(shapely):
        angles = rng.uniform(0, 2 * np.pi) + np.linspace(0, rng.uniform(1, 3), 20)
        radius = rng.uniform(15, 30)
        arc = rng.uniform((20, 20), (180, 140)) + radius * np.stack([np.cos(angles), np.sin(angles)], 1)
        return shapely.LineString(arc).buffer(rng.uniform(4, 7), cap_style="flat")

    config = {"shape": shape, "unclip_ratio": 1.5}
    # Rectangles are also cut at the edges; polygons, which may then cross themselves, are not.
    space = (-50, -50, 250, 210) if shape == "QUAD" else (10, 10, 190, 150)
    maps = [text_map(rng, line if shape == "QUAD" else curved, space) for _ in range(12)]
    answers = ask("text_regions", [{"map": array(probabilities), "config": {"text_regions": config}} for probabilities in maps])
    compared = 0
    for probabilities, answer in zip(maps, answers):
        expected = find_regions(shapely, probabilities, config)
        assert len(answer) == len(expected)
        for region in answer:
            # Clipped corners may fall on each other.
            outline = shapely.Polygon(np.reshape(region["corners"], (-1, 2))).buffer(0)
            overlaps = [outline.intersection(other).area / outline.union(other).area for _, other in expected]
            best = int(np.argmax(overlaps))
            assert overlaps[best] > (0.999 if shape == "QUAD" else 0.95), overlaps[best]
            # Pixels on the outline count here or there.
            assert min(abs(region["score"] - score) for score in expected[best][0]) < 0.06
            compared += 1
    assert compared > 30, compared
