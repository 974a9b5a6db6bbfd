/**
 * Every word that the page shows, in one place. To translate: copy the file, change `language` and the texts.
 * A function is a sentence with something put in. Results never call a spot safe or harmless.
 */

import type { Band, FindingName } from "./types";
import type { BadFile } from "./decode";
import type { BadImport } from "./import";

const percent = (share: number) =>
  share < 0.01 ? "under 1 %" : share > 0.99 ? "over 99 %" : `${Math.round(100 * share)} %`;
/** Of a limit that somebody chose, such as 0.99 or 0.995. */
const exactPercent = (share: number) => `${Number((100 * share).toFixed(1))} %`;

/** Of each severity: what was found, and what to do. */
type FindingWords = Partial<Record<"refuse" | "warn", readonly [text: string, advice: string]>>;

export const strings = {
  language: "en",

  page: {
    title: "lentigo – skin spot check",
    short_title: "lentigo",
    description:
      "Research software that looks at a photo of a skin spot in your browser. The photo never leaves your device. Not a diagnosis.",
    no_script: "This page works inside your browser and needs JavaScript. See a doctor when in doubt.",
  },

  frame: {
    skip: "Skip to content",
    home: "lentigo, start page",
    menu: "Pages",
    check: "Check",
    history: "History",
    about: "About",
    doctor: "See a doctor when in doubt.",
    doctor_more: "When to go",
    not_device: "Research software, not a medical device.",
    demo: "DEMO model",
    demo_text: "It learned from drawings, not from skin. Its results mean nothing.",
    new_version: "A newer version of this page is ready. Close all its tabs and open it again.",
  },

  start: {
    title: "Check a skin spot",
    lead: "A small neural network looks at your photo and says how much the spot resembles skin cancers that it was shown. It cannot rule cancer out.",
    take: "Take a photo",
    choose: "Choose a picture",
    drop: "You can also drop a picture here, or paste one.",
    drop_now: "Drop the picture anywhere",
    private_title: "Your photo stays here",
    private: "Everything is computed in this browser. Nothing is uploaded, and the page works without a network.",
    tips_title: "A useful photo",
    tips: [
      "Best through a dermatoscope, the magnifier that doctors use: the model learned from such pictures.",
      "One spot, in the middle, with skin on all sides. Part thick hair.",
      "Even daylight, no flash glare. Tap the spot to focus and hold still.",
    ],
    loading: "Loading the model …",
    ready: (title: string) => `Model ready: ${title}.`,
    failed: "The model could not be loaded.",
    failed_why: (why: string) => `Reason: ${why}. Check the connection, then try again.`,
    retry: "Try again",
    reading: "Reading the picture …",
  },

  bad_file: {
    empty: "This file is empty. Choose another picture.",
    too_many_bytes: "This file is larger than 50 MB. Save the picture smaller and choose it again.",
    too_many_pixels: "This picture has more than 50 megapixels. Save it smaller and choose it again.",
    not_an_image:
      "This file is not a picture that your browser can read, or it is damaged. Choose a JPEG, PNG or WebP file.",
  } satisfies Record<BadFile, string>,
  no_file: "That was not a file. Choose, drop or paste a picture.",

  camera: {
    title: "Take a photo",
    hint: "Bring the spot into the ring, as large and sharp as you can.",
    preview: "Camera preview",
    starting: "Starting the camera …",
    shutter: "Take the photo",
    cancel: "Cancel",
    app: "Use the camera app instead",
    denied: "The camera is blocked for this page. Allow it in the browser's settings, or use the camera app.",
    missing: "This browser shows no camera to this page. Use the camera app, or choose a picture.",
  },

  crop: {
    title: "Frame the spot",
    hint: "Drag the frame onto the spot and leave some skin on every side. Pull a corner to change its size.",
    frame: "Crop frame",
    frame_help: "Arrow keys move the frame, with Shift in larger steps. Plus and minus change its size.",
    frame_state: (left: number, top: number, side: number) =>
      `${side} pixels square, ${left} pixels from the left, ${top} from the top`,
    corner: { nw: "upper left corner", ne: "upper right corner", sw: "lower left corner", se: "lower right corner" },
    size: "Frame size",
    preview: "What the model will see",
    whole: "Largest frame",
    check: "Check this spot",
    checking: "Looking at the picture …",
    other: "Other picture",
    failed: (why: string) => `The picture could not be checked. ${why}`,
  },

  result: {
    title: { low: "Low", unclear: "Unclear", high: "High", refused: "No result for this photo" } satisfies Record<
      Band,
      string
    >,
    kicker: "Result",
    probability: (share: number) => percent(share),
    probability_label: "The model’s estimate that this spot is malignant",
    probability_plain: (share: number) => `The model’s estimate that this spot is malignant: ${percent(share)}.`,
    uncalibrated: (reason: string) =>
      `This number is not calibrated: read it as a rank, not as a chance.${reason ? ` ${reason}` : ""}`,
    meaning: {
      // Infinity: none of them
      low: (oneIn: number) =>
        `The model found little of what it learned to link with skin cancer. That does not make the spot harmless: ${Number.isFinite(oneIn) ? `up to 1 in ${oneIn} cancers among its validation pictures landed in this band` : "cancers unlike those among its validation pictures can land in this band"}, and photos taken without a dermatoscope are harder.`,
      unclear:
        "The model cannot tell. This is a common answer, and it is neither good news nor bad news. If the spot is new, changes, or worries you, have it looked at.",
      high: "The model found patterns that it learned to link with skin cancer. Many harmless spots look like this to it too, so it is no diagnosis. Have a doctor look at this spot soon.",
    } satisfies Record<Exclude<Band, "refused">, string | ((oneIn: number) => string)>,
    band_missing: (reason: string) =>
      `This model has no bands, so every result is “unclear”.${reason ? ` ${reason}` : ""}`,
    demo: "DEMO: this model learned from drawn pictures. The result says nothing about real skin.",
    scale: (share: number, band: string) =>
      `Scale from 0 to 100 percent with the bands low, unclear and high. This photo: ${percent(share)}, ${band.toLowerCase()}.`,
    scale_low: "low",
    scale_unclear: "unclear",
    scale_high: "high",
    refused_lead:
      "The photo is not good enough for an answer, or shows something that the model never learned. It gives none rather than a wrong one. This says nothing about your spot.",
    reasons: "Why, and what to do",
    notes: "About this photo",
    notes_lead: "The result is less reliable because of this:",
    no_notes: "The checks of the photo itself found nothing wrong with it. That says nothing about the spot.",
    photo: "The photo as the model saw it",
    heat_title: "Where the model looked",
    heat_picture: "The photo with the heat map over it",
    heat_strength: "Heat map strength",
    heat_legend: "Heat: how strongly a place spoke for “malignant”",
    heat_least: "none",
    heat_most: "strong",
    heat_note:
      "Full red is the same strength for every photo. Places without colour did not speak for “malignant”. The map shows what moved the model, not where disease is.",
    heat_empty: "On this photo no place spoke for “malignant”, so the map has no colour.",
    means_title: "What this means",
    means: [
      "How much the spot resembles malignant spots in the pictures that the model learned from.",
      "A hint for a talk with a doctor, no more.",
    ],
    means_not_title: "What this does not mean",
    means_not: [
      "It is no diagnosis. Only a doctor, and often only a biopsy, can give one.",
      "No result here is an all-clear. A low number does not rule cancer out.",
      "It knows nothing about you: your age, your skin, whether the spot is new or changes.",
      "Skin tones, body sites and kinds of cancer that are rare in its pictures are judged worse.",
    ],
    save_title: "Keep it to compare later",
    save_lead: "Photo and result are stored in this browser only.",
    save_mole: "Mole",
    save_new: "New mole",
    save_name: "Name of the new mole",
    save_name_example: "for example: left shoulder",
    save_name_missing: "Give the mole a name, for example where it is.",
    save: "Save to history",
    saved: (name: string) => `Saved under “${name}”.`,
    saved_open: "Open its history",
    save_failed: "The browser did not store it. It may be full, or a private window.",
    again: "Frame again",
    another: "Check another spot",
    model_title: "Model and numbers",
    model: "Model",
    logit: "Score (logit)",
    outlier: "Unlikeness to the training pictures",
    outlier_value: (value: string, limit: string) => `${value}, refused above ${limit}`,
    bands: "About the bands",
    trained: "Learned from",
    trained_value: (images: number, data: string) => `${images.toLocaleString("en")} pictures (${data})`,
    validation: "On validation pictures",
    validation_value: (n: number, auc: string, low: string, high: string) =>
      `AUC ${auc} (95 % interval ${low} to ${high}) on ${n.toLocaleString("en")}`,
    card: "Model card",
  },

  finding: {
    refuse: "Refused",
    warn: "Note",
  },
  // Word by word as in src/lentigo/deploy/quality.py; a test holds them together.
  findings: {
    too_small: {
      refuse: [
        "The picture is too small: its shorter side has fewer than 64 pixels.",
        "Take or choose a picture with more pixels, or cut less away.",
      ],
      warn: [
        "The picture is small: its shorter side has fewer than 200 pixels, so fine structures are missing.",
        "Use a larger picture if you have one, or go closer to the spot.",
      ],
    },
    blurred: {
      refuse: [
        "The picture is blurred: no fine structures can be seen.",
        "Take the picture again: hold the camera still, let it focus on the spot, and wipe the lens.",
      ],
      warn: [
        "The picture looks a little blurred.",
        "Take the picture again if you can: hold the camera still and let it focus on the spot.",
      ],
    },
    too_dark: {
      refuse: [
        "The picture is too dark.",
        "Take the picture again in brighter light or with the dermatoscope's lamp on.",
      ],
      warn: ["The picture is rather dark.", "Take the picture again in brighter light if you can."],
    },
    too_bright: {
      refuse: [
        "The picture is too bright: large parts of it are plain white or have lost their colour.",
        "Take the picture again without flash or reflections, or with less light.",
      ],
      warn: [
        "Parts of the picture are so bright that their colour is lost.",
        "Take the picture again without flash or reflections if you can.",
      ],
    },
    no_lesion: {
      refuse: [
        "No spot was found that stands out from the skin around it.",
        "Move the spot to the middle, leave some skin around it, and take the picture again.",
      ],
      warn: [
        "The spot hardly stands out from the skin around it, so it may have been missed.",
        "Check that the spot is in the middle of the picture and that some skin around it can be seen.",
      ],
    },
    lesion_cut: {
      warn: [
        "The spot seems to be cut off by the edge of the picture.",
        "Take the picture from a little further away, so that the whole spot and some skin around it can be seen.",
      ],
    },
    several_lesions: {
      warn: [
        "More than one spot was found; the result is for the whole picture and not for one of them.",
        "Take one picture of each spot, or cut the picture so that it shows one spot only.",
      ],
    },
    hair: {
      warn: [
        "Hair or other dark lines lie around the spot and very likely over it.",
        "Brush or clip the hair aside, and take the picture again.",
      ],
    },
    not_dermoscopy: {
      refuse: [
        "The picture does not look like the pictures of spots on skin that the model has learned from.",
        "Use a picture of one spot on the skin, taken close up, best through a dermatoscope.",
      ],
      warn: [
        "The picture looks unlike most of the pictures that the model has learned from.",
        "Use a picture of one spot on the skin, taken close up, best through a dermatoscope.",
      ],
    },
  } satisfies Record<FindingName, FindingWords> as Record<FindingName, FindingWords>,

  history: {
    title: "History",
    lead: "Photos and results of your moles over time, kept in this browser only. Clearing the browser’s data deletes them.",
    empty: "Nothing is saved yet. Check a spot, then save the result under a name.",
    photos: (count: number) => (count === 1 ? "1 photo" : `${count} photos`),
    latest: (date: string) => `latest ${date}`,
    export: "Export everything",
    exported: "The export was handed to your downloads.",
    too_large:
      "Nothing was exported: an export holds at most 500 MB and 65,534 photos, and this history is larger. Delete photos that you no longer need, then export again.",
    import: "Import an export",
    import_hint: "From another device or browser? Import the ZIP file that “Export everything” made there.",
    importing: "Reading the export …",
    imported: (photos: number, moles: number) =>
      photos + moles === 0
        ? "Everything in this export is here already. Nothing was added."
        : `Added: ${[
            photos === 1 ? "1 photo" : photos > 1 && `${photos} photos`,
            moles === 1 ? "1 new mole" : moles > 1 && `${moles} new moles`,
          ]
            .filter(Boolean)
            .join(", ")}.`,
    import_failed: "The browser did not store it. It may be full, or a private window. Nothing was changed.",
    bad_import: {
      too_many_bytes: "This file is larger than 500 MB, or unpacks to more. Choose the ZIP file that “Export everything” made. Nothing was changed.",
      not_an_export:
        "This file is not an export of this page, or it is damaged. Choose the ZIP file that “Export everything” made; if your browser unpacked it, pack its folder as a ZIP again. Nothing was changed.",
      newer:
        "This export was made by a newer version of this page. Close all tabs of this page, open it again, and import once more. Nothing was changed.",
    } satisfies Record<BadImport, string>,
    delete_all: "Delete everything",
    delete_all_sure: "Delete all moles, photos and results from this browser? This cannot be undone.",
    deleted_all: "Everything was deleted.",
    failed: "The browser’s storage cannot be read. A private window may forbid it.",
    download: (day: string) => `lentigo-${day}.zip`,
    read_me:
      "history.json holds moles, dates and results; the folder photos holds the pictures. Made by lentigo, research software, not a medical device. See a doctor when in doubt.",
  },

  mole: {
    back: "All moles",
    lead: "Choose two photos to see them side by side.",
    choose_short: "Compare",
    choose: (date: string) => `Compare the photo of ${date}`,
    compare: "Compare the two photos",
    compare_need: "Choose two photos first.",
    photo: (date: string) => `Photo of ${date}`,
    delete_photo: "Delete",
    delete_photo_named: (date: string) => `Delete the photo of ${date}`,
    delete_photo_sure: (date: string) => `Delete the photo of ${date} and its result?`,
    deleted_photo: "The photo was deleted.",
    delete: "Delete this mole",
    delete_sure: (name: string) => `Delete “${name}” with all its photos and results?`,
    empty: "No photo is left of this mole.",
    missing: "This mole is not in this browser’s history.",
    result: (band: string, probability: string) => `${band}, ${probability}`,
    demo: "DEMO",
  },

  compare: {
    title: (name: string) => `${name}: two photos`,
    lead: "Look for a change in size, shape or colour yourself. Light, distance and angle change the model’s number too, so a difference between two numbers is no proof of change, and no difference is no proof of none.",
    change: "A spot that changed should be seen by a doctor.",
    days: (days: number) =>
      days === 0
        ? "Both photos are of the same day."
        : days === 1
          ? "1 day lies between them."
          : `${days} days lie between them.`,
    models: "The two results come from different models, so their numbers cannot be compared.",
    heat: "Show the heat maps",
    back: "Back to the mole",
  },

  ask: { yes: "Delete", no: "Keep" },

  about: {
    title: "About",
    doctor_title: "When to see a doctor",
    doctor_lead: "Whatever this page says, have a spot looked at by a doctor, best a dermatologist, if it",
    doctor: [
      "is new, or looks unlike all your others;",
      "changes in size, shape or colour;",
      "is asymmetric, has a ragged edge, or several colours;",
      "is larger than about 6 mm and growing;",
      "bleeds, itches, crusts or does not heal;",
      "simply worries you.",
    ],
    doctor_soon: "A spot that grows within weeks, or a nodule that is firm and raised, should be seen within days.",
    what_title: "What this page is",
    what: "lentigo is research software. It is not a medical device, nobody has approved it for diagnosis, and it must not decide whether you see a doctor.",
    how_title: "How it works",
    how: "A neural network, trained on pictures whose diagnosis is known, turns the framed square into one score. The score becomes an estimate and one of three bands.",
    how_limits: (low: number, high: number) =>
      `The bands’ limits were set on validation pictures: “low” lies below a limit that ${exactPercent(low)} of the cancers there exceeded, “high” above one that ${exactPercent(high)} exceeded.`,
    how_photo:
      "Before that, the page checks whether the photo is fit for an answer, and refuses it if not.",
    privacy_title: "Privacy",
    privacy:
      "Your photo is never sent anywhere. The page makes no request to any other site, counts no visitors and sets no cookies. Saved photos are drawn anew first, without place, time or device. They stay in this browser until you delete them.",
    model_title: "This model",
    demo: "This is a DEMO model. It learned from drawn pictures and shows only how the page works.",
    no_model: "The model’s description is shown once the model is loaded.",
    software_title: "Software",
    software:
      "The model runs on ONNX Runtime Web, © Microsoft Corporation, MIT licence. lentigo is under the MIT licence too.",
    install_title: "Install it",
    install:
      "Your browser’s menu offers “Install” or “Add to home screen”. After that the page opens like an app and works without a network.",
  },

  not_found: "This page does not exist.",
  view_failed: "This cannot be shown here.",
};

/** Dates as the reader's device writes them. */
export function dateText(iso: string): string {
  return new Date(iso).toLocaleString(undefined, { dateStyle: "medium", timeStyle: "short" });
}

export function dayText(iso: string): string {
  return new Date(iso).toLocaleDateString(undefined, { dateStyle: "medium" });
}
