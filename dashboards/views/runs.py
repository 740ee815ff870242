"""The list of runs in the folder: when, which model, how far each concept came, whole or not."""

import streamlit as st

from virtuelens.errors import VirtueLensError
from virtuelens.reports import browse
from virtuelens.reports.summary import markdown

SHOWN = 50

st.title("Runs")
try:
    folder = browse.runs_folder()
    found = browse.summaries(folder)
except (VirtueLensError, OSError) as error:
    st.error(markdown(str(error)))
    st.stop()

if not found:
    st.info(
        "There are no runs in this folder yet. Make one with: "
        "`virtuelens audit organism:sycophant --twin organism:candid`"
    )
    st.stop()

words = st.text_input("Filter", placeholder="words in the folder, model or concept",
                      help="Shows the runs that hold every word.")
listed = browse.matching(found, words)
st.caption(f"{len(listed)} of {len(found)} runs in {markdown(str(folder))}, newest first")

for summary in listed[:SHOWN]:
    with st.container(border=True):
        what, rungs, go = st.columns([4, 5, 1], vertical_alignment="center")
        if summary.problem:
            what.markdown(f"**{markdown(summary.path.name)}**")
            rungs.markdown(f":material/warning: {markdown(summary.problem)}")
            continue
        beside = f" beside {markdown(summary.twin)}" if summary.twin else ""
        what.markdown(f"**{markdown(summary.model)}**{beside}")
        what.caption(
            f"{markdown(browse.started(summary))} · {markdown(summary.path.name)} · "
            + ("complete" if summary.complete else "interrupted")
        )
        lines = browse.rungs_in_words(summary) or ["no concept was finished"]
        rungs.markdown("  \n".join(map(markdown, lines)))
        if go.button("Open", key=f"open-{summary.path.name}"):
            st.session_state["run"] = summary.path.name
            st.switch_page("views/findings.py", query_params={"run": summary.path.name})
if len(listed) > SHOWN:
    st.caption(f"The newest {SHOWN} are shown: narrow the list with the filter.")
