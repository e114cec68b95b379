"""How a report is read, for people who see one for the first time."""

GUIDE: tuple[tuple[str, str], ...] = (
    (
        "Arm",
        "One way to train, searched with as many trials as every other one. Plain: the backbone alone. Plain "
        "widened: the backbone with as many parameters as what ships. Fields: FRE and FIE. Values: texts of values. "
        "Log-odds floor: what counting does without any learning.",
    ),
    (
        "Controls",
        "What ships, with vectors that mean nothing (random, shuffled, all equal) or that come from a language model "
        "that was not tuned. A control that is as good as what ships says: the gain is there, but it is not the "
        "meaning that brings it.",
    ),
    ("AUC and spread", "The mean over seeds, and how far the seeds lie apart (standard deviation)."),
    (
        "RelaImpr",
        "(AUC - 0.5) / (AUC of plain - 0.5) - 1: the share by which what plain has beyond chance grows. Where plain is "
        "near 0.5 it means little; look at the difference of AUC.",
    ),
    (
        "95 % interval",
        "Where the difference could lie if other users (rows, where nothing names users) and seeds had been drawn. One "
        "that holds zero can be chance.",
    ),
    (
        "Detectable",
        "The smallest true difference that these rows would have shown in 80 of 100 cases. A smaller gain may be there "
        "unseen: take more rows or seeds.",
    ),
    (
        "Calibration",
        "ECE is the mean distance between predicted and true shares of clicks in 15 bins, and predicted/true the ratio "
        "of all clicks. Within: as good as a perfectly calibrated model would look on as many rows.",
    ),
    (
        "Slices",
        "The same models on a part of the rows. Cold: a user or an item that train never had. Warm: all other rows. "
        "Rare F: a value of field F that train had less than five times. Small slices waver.",
    ),
    (
        "The plot",
        "A dot is an arm's RelaImpr over plain of the same backbone, the line its interval; what ships is blue. A line "
        "that crosses zero can be chance; what ships should lie to the right of zero and of its controls.",
    ),
    (
        "Verdict",
        "A gain is told only where what ships beats plain, plain widened and every control, each by an interval above "
        "zero; where that holds of one part's controls alone, it is that part's gain. No gain: train with enhancer "
        "'none', or look at cold rows and few rows (--cut), where meaning has more to say.",
    ),
)
