"""The items of TRIPOD+AI and of CLAIM as data: number, a name in our own words, and the rule that judges a report.

Numbers are the published ones. Names only remind of the topic; what an item asks for in full stands in its source.
"""

from dataclasses import dataclass

from lentigo.report import checklist_rules as rules
from lentigo.report.checklist_rules import Rule, by_authors, of_patients

TRIPOD_AI = "TRIPOD+AI"
CLAIM = "CLAIM 2024"
SOURCES = {
    TRIPOD_AI: "Collins et al. 2024, BMJ 385:e078378, doi:10.1136/bmj-2023-078378",
    CLAIM: "Tejani et al. 2024, Radiology: Artificial Intelligence 6(4):e240300, doi:10.1148/ryai.240300",
}


@dataclass(frozen=True)
class Record:
    """One item and its rule."""

    guideline: str  # a key of SOURCES
    number: str
    name: str
    rule: Rule


_TITLE = by_authors("the title of the paper")
_ABSTRACT = by_authors("the abstract; the summary at the head of this page gives its numbers")
_PROTOCOL = by_authors("where the plan of the study can be read, or that there was none")
_FUNDING = by_authors("who paid, and what they had a say in")

_TRIPOD_AI: tuple[tuple[str, str, Rule], ...] = (
    ("1", "Title", _TITLE),
    ("2", "Abstract", _ABSTRACT),
    ("3a", "Medical context and earlier models", by_authors("what the model is for in medicine, and what exists")),
    ("3b", "For whom, by whom, at which point of care", rules.intended_use),
    ("3c", "Inequalities already known", by_authors("who is known to be diagnosed later or treated worse")),
    ("4", "Aims", by_authors("what the study set out to show")),
    ("5a", "Where the data come from", rules.origin),
    ("5b", "When the data were collected", of_patients("first and last date of the images")),
    ("6a", "Kind and place of the clinics", of_patients("which clinics, of which kind, and where")),
    ("6b", "Who could take part", of_patients("whose images were taken in, and whose not")),
    ("6c", "Treatments", of_patients("treatments before the image was taken, or that none matters")),
    ("7", "Preparing and checking the data", rules.data_checks),
    ("8a", "What is predicted", of_patients("what makes an image malignant; the labels are taken as they come")),
    ("8b", "Who made the diagnosis", of_patients("who diagnosed, with which training")),
    ("8c", "Diagnosis made unaware of the rest", of_patients("what those who diagnosed knew and did not know")),
    ("9a", "Why these inputs", rules.inputs_chosen),
    ("9b", "What each input is", rules.inputs_defined),
    ("9c", "Who judged the inputs", by_authors("that nobody reads the image before the network, or who does")),
    ("10", "Why so many images", by_authors("why this number suffices; the report counts images, it plans none")),
    ("11", "Gaps in the data", rules.missing_data),
    ("12a", "Parts of the data and their use", rules.partition),
    ("12b", "Form in which inputs enter", rules.inputs_transformed),
    ("12c", "Kind of model and its building", rules.model_building),
    ("12d", "Differences between clinics: method", rules.heterogeneity),
    ("12e", "Measures and plots", rules.measures),
    ("12f", "Adjusting the model: method", rules.updating),
    ("12g", "How predictions were computed", rules.predictions),
    ("13", "Unequal classes", rules.imbalance),
    ("14", "Fairness", rules.fairness),
    ("15", "What the model puts out", rules.output),
    ("16", "Training data against test data", rules.differences),
    ("17", "Ethics approval and consent", of_patients("which board approved it, and how consent was given")),
    ("18a", "Funding", _FUNDING),
    ("18b", "Interests of the authors", by_authors("interests of every author")),
    ("18c", "Plan of the study", _PROTOCOL),
    ("18d", "Entry in a register", by_authors("register and number, or that there is none")),
    ("18e", "Access to the data", rules.data_access),
    ("18f", "Access to the code", rules.code_access),
    ("19", "Part that patients took", by_authors("how patients took part in the study, or that none did")),
    ("20a", "From all images to those used", rules.flow),
    ("20b", "Who the people are", rules.characteristics),
    ("20c", "Make-up of the test data against training", rules.distribution),
    ("21", "Numbers in each step", rules.numbers),
    ("22", "The model itself", rules.whole_model),
    ("23a", "Scores with intervals, also by group", rules.performance),
    ("23b", "Differences between clinics: result", rules.heterogeneity),
    ("24", "Adjusting the model: result", rules.updating),
    ("25", "What the results mean", rules.interpretation),
    ("26", "Limits of the study", rules.limitations),
    ("27a", "Poor or absent input in use", rules.poor_input),
    ("27b", "What users do and must know", by_authors("what a user has to do and to know")),
    ("27c", "What comes next", by_authors("which studies should follow")),
)

_CLAIM: tuple[tuple[str, str, Rule], ...] = (
    ("1", "Title", _TITLE),
    ("2", "Abstract", _ABSTRACT),
    ("3", "Background and clinical role", by_authors("what is done today, and what the model would change")),
    ("4", "Aims and hypotheses", by_authors("what the study set out to show")),
    ("5", "Looking back or ahead", by_authors("whether images were gathered before or for the study")),
    ("6", "Purpose", by_authors("whether this is a first trial, a comparison or more")),
    ("7", "Where the data come from", rules.origin),
    ("8", "Who was taken in", of_patients("whose images were taken in, and whose not")),
    ("9", "Preprocessing", rules.inputs_transformed),
    ("10", "Choice among data", by_authors("how images or parts of them were chosen before lentigo read them")),
    ("11", "Names removed", of_patients("how the images were freed of what identifies a person")),
    ("12", "Gaps in the data", rules.missing_data),
    ("13", "How images were taken", of_patients("dermatoscope, camera, light and resolution")),
    ("14", "What counts as the truth", of_patients("how a lesion was found benign or malignant")),
    ("15", "Why that truth", of_patients("why this and no other proof of the diagnosis")),
    ("16", "Who labelled", of_patients("who gave the labels, with which training")),
    ("17", "How test images were labelled", of_patients("how, and with which tools, test images were labelled")),
    ("18", "Agreement of those who labelled", of_patients("how far they agreed, and how quarrels were settled")),
    ("19", "How parts were dealt", rules.partition),
    ("20", "What keeps the parts apart", rules.disjoint),
    ("21", "Planned size of the test", by_authors("how many test images were planned, and why")),
    ("22", "The network", rules.network),
    ("23", "Software and versions", rules.software),
    ("24", "First weights", rules.initial_weights),
    ("25", "Training", rules.training),
    ("26", "Which weights were kept", rules.selection),
    ("27", "Several networks as one", rules.ensembling),
    ("28", "Measures", rules.measures),
    ("29", "Uncertainty and tests", rules.uncertainty),
    ("30", "Robustness", rules.robustness),
    ("31", "Explanations", rules.explanations),
    ("32", "Test on own data", rules.internal_test),
    ("33", "Test on foreign data", rules.external_test),
    ("34", "Entry in a trial register", by_authors("register and number if it is a trial")),
    ("35", "Taken in and left out", rules.flow),
    ("36", "Who the people are, by part", rules.characteristics),
    ("37", "Scores, also by group", rules.performance),
    ("38", "Diagnostic accuracy with intervals", rules.accuracy_estimates),
    ("39", "Where it fails", rules.failures),
    ("40", "Limits", rules.limitations),
    ("41", "Meaning for practice", rules.implications),
    ("42", "Full plan or further details", _PROTOCOL),
    ("43", "Access to software, model and data", rules.availability),
    ("44", "Funding", _FUNDING),
)

RECORDS: tuple[Record, ...] = (
    *(Record(TRIPOD_AI, *item) for item in _TRIPOD_AI),
    *(Record(CLAIM, *item) for item in _CLAIM),
)
