"""What each rung of the evidence ladder claims and what it must beat."""

import streamlit as st

from virtuelens.audits.ladder import RUNGS
from virtuelens.reports.claims import CLAIMS, MUST_BEAT
from virtuelens.reports.summary import ladder_bar

st.title("What the rungs mean", anchor=False)
st.markdown("A claim about one concept in one model climbs rungs. Each needs all below it; a rung "
            "that could not be tested stops the climb and is named.")
for rung, (name, claim, beat) in enumerate(zip(RUNGS, CLAIMS, MUST_BEAT, strict=True)):
    st.subheader(f"{ladder_bar(rung)} {rung} · {name}", anchor=False)
    st.markdown(claim)
    if rung:
        st.caption(f"Must beat: {beat}")
st.caption("All of it is about representations and behaviour: no rung says what a model feels, or "
           "whether it does.")
