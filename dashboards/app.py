"""The dashboard: navigation only. Started by `virtuelens dashboard RUNS`."""

import streamlit as st

st.set_page_config(page_title="virtuelens", layout="wide")
st.navigation([
    st.Page("views/runs.py", title="Runs", icon=":material/list:", default=True),
    st.Page("views/findings.py", title="Findings", icon=":material/search_insights:"),
    st.Page("views/steers.py", title="Steers on trial", icon=":material/tune:"),
    st.Page("views/features.py", title="Feature cards", icon=":material/bubble_chart:"),
    st.Page("views/rungs.py", title="What the rungs mean", icon=":material/stairs:"),
]).run()
