"""Rules that say how far a report answers an item of a checklist: facts in, status and place out.

"answered" is kept for what the named section really gives its reader; what needs a word of the authors besides is
"partly". Every rule is about the report, none about whether the study is good.
"""

from collections.abc import Callable
from typing import TypeAlias

from lentigo.report.checklist_facts import PEOPLE, Answer, Facts, absent, answered, makers, named, partly, person, when

Rule: TypeAlias = Callable[[Facts], Answer]


def by_authors(what: str) -> Rule:
    """A rule for what no program can know."""
    return lambda _: person(what)


def of_patients(what: str) -> Rule:
    """A rule for what only the authors know of their patients; a drawn lesion has none."""
    return lambda facts: _NO_PATIENTS if facts.drawn else person(what)


def intended_use(_: Facts) -> Answer:
    return partly(("card",), "what the model may and may not be used for", "people, users and point of care")


def origin(facts: Facts) -> Answer:
    if facts.drawn:
        return answered(("run", "limits"), "lesions drawn by lentigo, which stand for no patients")
    if not facts.source_known:
        return absent("add a source column to the table: the archive or clinic of each image")
    where = "subgroups" if "source" in named(facts.subgroups) else "run"
    left = "why these data, and for whom they stand"
    return partly((where,), "the data set, and in its table the source of each image", left)


def data_checks(facts: Facts) -> Answer:
    if not facts.audit:
        return absent("audit the data: lentigo audit DATA")
    return partly(("worth",), "findings of the audit: files, copies, labels, shortcuts", "what was done about them")


def inputs_chosen(facts: Facts) -> Answer:
    if not facts.network_known:
        return makers("what the model was shown, and why")
    return partly(("card",), "the image alone goes in, neither age nor sex nor site", "why")


def inputs_defined(facts: Facts) -> Answer:
    if not facts.network_known:
        return makers("what the model was shown")
    left = "how lesions are drawn" if facts.drawn else "how, when and with what it was taken"
    return partly(("card",), "the image alone goes in", left)


def missing_data(facts: Facts) -> Answer:
    if not facts.audit:
        return absent("audit the data, which lists files that cannot be read: lentigo audit DATA")
    return partly(("worth",), "unreadable files, as the audit found them", "gaps in diagnosis, age and the like")


def partition(facts: Facts) -> Answer:
    if not facts.network_known:
        return makers("how images were divided for training and test")
    if not facts.internal_test:
        return partly(("run",), "images of each part and class", "images kept for a test: lentigo split DATA")
    return answered(("run",), "protocol of the split, images of each part and class")


def inputs_transformed(facts: Facts) -> Answer:
    if not facts.network_known:
        return makers("how images were scaled and changed")
    there = "changes made in training; size and normalisation stand in experiment.toml of each run"
    return partly(("augmentations",), there, "what was done to the files before")


def model_building(facts: Facts) -> Answer:
    if not facts.network_known:
        return makers("what kind of model it is, and how it was built")
    there = "size of each network and course of its training; all settings stand in experiment.toml of each run"
    return partly(("costs", "training"), there, "why this kind, and what else was tried")


def heterogeneity(facts: Facts) -> Answer:
    if "source" in named(facts.subgroups):
        return answered(("subgroups", *when(facts.external, "external")), "scores within each source, and their gaps")
    if facts.external:
        left = "scores within the development data: a source column"
        return partly(("external",), f"scores on {', '.join(facts.external)} beside the development score", left)
    if facts.source_known:
        return absent("no source is scored apart; a source needs both classes among the test images")
    return absent("add a source column to the table, or --external NAME=PATH")


def measures(facts: Facts) -> Answer:
    utility = facts.decision_curve or facts.operating_points
    sections = (
        "scores",
        "roc",
        *when(facts.calibration, "calibration"),
        *when(utility, "operating"),
        *when(facts.paired_tests, "pairs"),
    )
    missing = [
        *when(not facts.calibration, "calibration"),
        *when(not utility, "operating points or a decision curve, which take predictions for validation images"),
        *when(facts.several_models and not facts.paired_tests, "tests between the models, on the same images"),
    ]
    there = "each measure and plot, with what it says"
    return partly(sections, there, "; ".join(missing)) if missing else answered(sections, there)


def updating(facts: Facts) -> Answer:
    if not facts.calibration:
        return absent("a temperature: it takes scores of validation images on which the classes are not told perfectly")
    if not facts.network_known:
        return partly(("calibration",), "calibration of the predictions as they came", "whether they were adjusted")
    return answered(("calibration",), "a temperature fitted on validation images, scores before and after")


def predictions(facts: Facts) -> Answer:
    if not facts.network_known:
        return makers("how the predictions were computed")
    if not facts.predictions_kept:
        return partly(("reproduce",), "command and versions", "predictions.csv of each run: lentigo evaluate RUN")
    return answered(("reproduce",), "command and versions; predictions.csv of each run has every logit")


def imbalance(facts: Facts) -> Answer:
    if not facts.network_known:
        return makers("whether classes were weighted or resampled")
    return answered(("run",), "images of each class; training neither weights nor resamples them")


def fairness(facts: Facts) -> Answer:
    scored = _people(facts)
    if scored:
        left = "what was done about the gaps, and why"
        return partly(("subgroups",), f"scores and gaps by {', '.join(scored)}", left)
    return absent(_score_people(facts))


def output(facts: Facts) -> Answer:
    if facts.operating_points:
        text = "a probability, and thresholds with the way in which each was chosen on validation images"
        return answered(("operating",), text)
    left = "a threshold with a reason, which takes predictions for validation images"
    return partly(("scores",), "a probability, called malignant from 0.5 on", left)


def differences(facts: Facts) -> Answer:
    if facts.external:
        there = f"scores on {', '.join(facts.external)} beside the development score"
        return partly(("external",), there, "how clinics, people and diagnoses differ")
    if facts.internal_test and facts.network_known:
        there = "test images of the same data set as the training images"
        return partly(("run",), there, "other clinics: add --external NAME=PATH")
    return absent("add --external NAME=PATH")


def data_access(facts: Facts) -> Answer:
    if facts.drawn:
        return answered(("reproduce",), "the command draws the same lesions again")
    return person("where the images can be had, and under which licence")


def code_access(facts: Facts) -> Answer:
    if facts.network_known:
        return answered(("reproduce",), "command, seed and versions")
    return partly(("reproduce",), "command and versions that made this page", "the code that made the predictions")


def flow(facts: Facts) -> Answer:
    if facts.drawn:
        return answered(("run",), "images of each part and class, all drawn, none left out")
    left = "people rather than images, and who was left out before"
    return partly(("run",), "images of each part and class", left)


def characteristics(facts: Facts) -> Answer:
    if facts.drawn:
        return _NO_PATIENTS
    known, scored = named(facts.demographics), named(facts.subgroups)
    shown = [name for name in known if name in scored]
    if shown:
        left = "the same for people and for each part of the split"
        return partly(("run", "subgroups"), f"classes, and test images by {', '.join(shown)}", left)
    if known:
        return partly(("run",), "classes", f"{', '.join(known)}, which the table has but the report does not show")
    return absent("add age, sex, site or skin_tone columns to the table")


def distribution(facts: Facts) -> Answer:
    left = "the same for age, sex and the like"
    if facts.external:
        return partly(("run", "external"), "images of each class, development and external", left)
    if facts.internal_test and facts.network_known:
        return partly(("run",), "images of each class in training and test", left)
    return absent("add --external NAME=PATH")


def numbers(facts: Facts) -> Answer:
    if facts.drawn and facts.network_known:
        return answered(("run",), "images of each class in training, validation and test")
    if facts.network_known:
        return partly(("run",), "images of each class in training, validation and test", "the number of people")
    return partly(("scores",), "images scored", "the number of people, and the images of training")


def whole_model(facts: Facts) -> Answer:
    if not facts.network_known:
        return makers("where the model can be had")
    there = "runs hold weights and settings; lentigo export RUN makes one file of them"
    return partly(("reproduce",), there, "where others find it, and on which terms")


def performance(facts: Facts) -> Answer:
    if not facts.intervals:
        return partly(("scores",), "scores without intervals", "intervals, which take test images of both classes")
    scored = _people(facts)
    if not scored:
        return partly(("scores",), "scores with intervals", _score_people(facts))
    return answered(("scores", "subgroups"), f"scores with intervals, also by {', '.join(scored)}")


def interpretation(facts: Facts) -> Answer:
    if not facts.audit:
        return person("what the results mean, beside other studies and for different people")
    return partly(("worth",), "what follows from the scores and what does not", "the same beside other studies")


def limitations(facts: Facts) -> Answer:
    left = "what is particular to these data and this question"
    return partly(("limits", *when(facts.audit, "worth")), "what the scores do not show", left)


def poor_input(facts: Facts) -> Answer:
    if facts.robustness:
        return partly(("robustness",), "how scores fall on poor photographs", "what to do with one")
    if not facts.network_known:
        return makers("what the model does with a poor photograph")
    return absent("try poor photographs: lentigo stress RUN")


def disjoint(facts: Facts) -> Answer:
    if not facts.network_known:
        return makers("whether images of one patient lie in training and test")
    sections = ("run", *when(facts.audit, "worth"))
    if facts.leaks:
        return partly(
            sections, "copies of training images among the others", "a split without them: --protocol grouped"
        )
    if facts.grouped_split and facts.leaks is None:
        return partly(sections, "images of a patient or lesion in one part", "look for copies: lentigo audit DATA")
    if facts.grouped_split:
        return answered(sections, "images of a patient or lesion in one part; no copies found across parts")
    if facts.leaks is None:
        return absent("add a patient or lesion column, and --protocol grouped; lentigo audit DATA looks for copies")
    left = "whether one person is in two parts: a patient or lesion column, and --protocol grouped"
    return partly(sections, "no copies found across parts", left)


def network(facts: Facts) -> Answer:
    if not facts.network_known:
        return makers("which network it is")
    return partly(("costs",), "name and size of each network", "its layers: lentigo models, or a figure")


def software(facts: Facts) -> Answer:
    if facts.network_known:
        return answered(("run", "reproduce"), "name and version of each program")
    return partly(("run", "reproduce"), "programs that made this page", "those that made the predictions")


def initial_weights(facts: Facts) -> Answer:
    if not facts.network_known:
        return makers("from which weights training started")
    if facts.published_weights:
        return answered(("card",), "weights published after training on ImageNet; what they lack is drawn by the seed")
    return answered(("card", "run"), "random weights, drawn by the seed")


def training(facts: Facts) -> Answer:
    if not facts.network_known:
        return makers("how it was trained")
    there = "changes made to images, loss by epoch, epochs and steps"
    return partly(("augmentations", "training"), there, "settings, from experiment.toml of each run")


def selection(facts: Facts) -> Answer:
    if not facts.network_known:
        return makers("which weights were kept")
    there = "epochs of each training, whose last weights are kept"
    return partly(("training",), there, "which network was chosen, and by what" if facts.several_models else "why")


def ensembling(facts: Facts) -> Answer:
    if not facts.network_known:
        return makers("whether several networks were joined")
    return answered(("scores",), "each network is scored alone; none are joined")


def uncertainty(facts: Facts) -> Answer:
    tested = facts.paired_tests or not facts.several_models
    sections = (*when(facts.intervals, "scores"), *when(facts.paired_tests, "pairs"))
    if not sections:
        return absent("intervals take test images of both classes; tests take several models on the same images")
    there = " and ".join([*when(facts.intervals, "95 % intervals"), *when(facts.paired_tests, "paired tests")])
    if facts.seeds > 1:
        there += f", and the spread of {facts.seeds} trainings"
    if facts.intervals and tested:
        return answered(sections, there)
    return partly(sections, there, "intervals" if tested else "tests between the models, on the same images")


def robustness(facts: Facts) -> Answer:
    if facts.robustness:
        return answered(("robustness",), "scores and changed decisions by kind and strength of change")
    if facts.seeds > 1:
        return partly(("scores",), f"spread of {facts.seeds} trainings", "changed images: lentigo stress RUN")
    if not facts.network_known:
        return makers("how the model stands changed images")
    return absent("lentigo stress RUN changes the images; --seeds 3 repeats the training")


def explanations(facts: Facts) -> Answer:
    if not facts.heat_maps:
        return absent("lentigo explain RUN") if facts.network_known else makers("whether decisions are explained")
    sections, done = ("look", "gallery"), "method of the heat maps, their place on all test images, and tests of it"
    if facts.masks:
        return answered(sections, done)
    return partly(sections, done, "lesions drawn by experts, in place of those found automatically")


def internal_test(facts: Facts) -> Answer:
    if not facts.internal_test:
        return absent("score images that were kept out of training: lentigo evaluate RUN")
    if not facts.network_known:
        return partly(("scores",), "scores on these images", "whether they were kept out of training")
    if facts.leaks:
        there = "scores on test images, some of them copies of training images"
        return partly(("scores", *when(facts.audit, "worth")), there, "a split without them: --protocol grouped")
    unsure = "; copies among them were not looked for" if facts.leaks is None else ""
    return answered(("scores", "training"), f"scores on images kept out of training{unsure}; loss by epoch")


def external_test(facts: Facts) -> Answer:
    if not facts.external:
        return absent("add --external NAME=PATH, or say why there is no such test")
    carried = ", thresholds carried over unchanged" if facts.operating_points else ""
    return answered(("external",), f"scores on {', '.join(facts.external)} beside the development score{carried}")


def accuracy_estimates(facts: Facts) -> Answer:
    sections = ("scores", "roc", "confusion", *when(facts.operating_points, "operating"))
    if facts.intervals:
        return answered(sections, "sensitivity, specificity and the ROC curve, with intervals")
    return partly(sections, "sensitivity, specificity and the ROC curve", "intervals")


def failures(facts: Facts) -> Answer:
    shown = "right and wrong decisions counted" + (", the surest mistakes shown" if facts.heat_maps else "")
    return partly(("confusion", "disagreements"), shown, "what the mistakes have in common, and what they would cost")


def implications(facts: Facts) -> Answer:
    if not (facts.operating_points or facts.decision_curve):
        return person("what it would change in practice")
    there = " and ".join(
        [*when(facts.operating_points, "lesions found and missed"), *when(facts.decision_curve, "net benefit")]
    )
    return partly(("operating",), there, "what it would change in practice")


def availability(facts: Facts) -> Answer:
    there = "command and versions" + ("; predictions lie beside the page" if facts.predictions_kept else "")
    left = "where others find the model" + ("" if facts.drawn else " and the images")
    return partly(("reproduce",), there, left)


_NO_PATIENTS = Answer("person", (), "lesions drawn by lentigo have no patients: say that it does not apply")


def _people(facts: Facts) -> tuple[str, ...]:
    scored = named(facts.subgroups)
    return tuple(name for name in PEOPLE if name in scored)


def _score_people(facts: Facts) -> str:
    known = [name for name in PEOPLE if name in named(facts.demographics)]
    if known:
        return f"scores by {', '.join(known)}, which the table has; a group needs both classes among the test images"
    return "scores by people: add age, sex or skin_tone columns to the table"
