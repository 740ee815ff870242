"""The dashboard: navigation only. Started by `virtuelens dashboard RUNS`."""

import streamlit as st

st.set_page_config(page_title="virtuelens", layout="wide")
st.navigation([
    st.Page("views/runs.py", title="Runs", icon=":material/list:", default=True),
    st.Page("views/findings.py", title="Findings", icon=":material/search_insights:"),
    st.Page("views/rungs.py", title="What the rungs mean", icon=":material/stairs:"),
]).run()
