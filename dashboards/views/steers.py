"""Steers on trial: the verdicts and figures of `virtuelens steer evaluate`, one steer at a time."""

import streamlit as st

from virtuelens.errors import VirtueLensError
from virtuelens.reports import browse
from virtuelens.reports.summary import markdown
from virtuelens.reports.theme import DARK, LIGHT, without_title
from virtuelens.reports.trials import check_words, trial_figures
from virtuelens.reports.words import plain_concept, sentence_case, visible
from virtuelens.trials import open_trials

FILE = "trials.json"
MARKS = {"passed": "✓ passed", "not passed": "✗ not passed", "not tested": "not tested"}


def show() -> None:
    """The whole page."""
    folder = browse.runs_folder()
    names = browse.folders_with(folder, FILE)
    st.title("Steers on trial", anchor=False)
    if not names:
        st.info("There are no trials in this folder yet. Make one with: "
                "`virtuelens steer evaluate organism:sycophant sycophancy`")
        st.stop()
    name = st.sidebar.selectbox("Trials", names, format_func=visible)
    run = open_trials(browse.named_folder(folder, name, FILE))
    steer = st.sidebar.selectbox("Steer", range(len(run.trials)), format_func=lambda k: visible(
        plain_concept(run.trials[k]["concept"])))
    trial = run.trials[steer]
    place = trial["place"]
    st.header(sentence_case(markdown(plain_concept(trial["concept"]))), anchor=False,
              divider="gray")
    st.markdown(
        f"In **{markdown(run.about['model']['name'])}**, added at {markdown(place['point'])}, "
        f"tokens: {markdown(place['where'])}, up to ±{place['dose']:.3g} σ. "
        f"Target: {markdown(place['of'])}."
    )
    for check in map(check_words, trial["checks"]):
        asked = f"  \nAsked: {markdown(check['mark'])}." if check["mark"] else ""
        st.markdown(f"**{markdown(sentence_case(check['name']))}** · {MARKS[check['state']]}  \n"
                    f"{markdown(sentence_case(check['said']))}.{asked}")
    template = DARK if st.context.theme.type == "dark" else LIGHT
    columns = st.columns(2)
    for k, figure in enumerate(trial_figures(run, trial)):
        with columns[k % 2]:
            st.markdown(f"**{markdown(figure.layout.meta['title'])}**")
            st.caption(markdown(figure.layout.meta["note"]))
            st.plotly_chart(without_title(figure).update_layout(template=template), theme=None,
                            key=f"{name}-{steer}-{k}", config={"displaylogo": False})
    with st.expander("What was not tested", expanded=True):
        for text in trial["not_tested"]:
            st.markdown(f"- {markdown(text)}")


try:
    show()
except (VirtueLensError, OSError) as error:
    st.error(markdown(str(error)))
