"""One run: the verdicts, and for one concept what the evidence supports, with the same figures."""

import streamlit as st

from virtuelens.audits.run import Run
from virtuelens.errors import VirtueLensError
from virtuelens.reports import browse
from virtuelens.reports.figures import FIGURES
from virtuelens.reports.page import Section, provenance, section
from virtuelens.reports.rows import check_findings, concepts_of, models_of
from virtuelens.reports.summary import ladder_bar, markdown, table_rows
from virtuelens.reports.theme import DARK, LIGHT, without_title
from virtuelens.reports.tokens import framed
from virtuelens.reports.words import plain_concept, sentence_case, visible

MARKS = {"passed": "✓ passed", "stopped": "✗ not reached", "not judged": "not judged"}
COLUMNS = ("concept", "model", "rung", "ladder", "AUROC held out [95 %]", "shuffled labels",
           "slope, nats per σ [95 %]", "random, 99 %")


def choose_run() -> Run:
    """The run named in the address or chosen before; the reader can take another."""
    folder = browse.runs_folder()
    readable = [s for s in browse.summaries(folder) if not s.problem]
    names = [s.path.name for s in readable]
    if not names:
        st.info("There is no readable run in this folder yet.")
        st.stop()
    asked = st.query_params.get("run") or st.session_state.get("run")
    if asked and asked not in names:
        st.warning(markdown(f"There is no readable run {asked!r} here; showing the newest."))
    name = st.sidebar.selectbox(
        "Run", names, index=names.index(asked) if asked in names else 0, format_func=visible
    )
    st.session_state["run"] = st.query_params["run"] = name
    return browse.open_named(folder, name)


def show_overview(run: Run) -> None:
    """Title, state of the run and the verdict table."""
    twin = run.about.get("twin")
    st.title(markdown(run.about["model"]["name"]), anchor=False)
    st.caption(
        (f"beside its twin {markdown(twin['name'])} · " if twin else "")
        + f"{markdown(str(run.about.get('started', ''))[:16].replace('T', ' '))} UTC · "
        + markdown(run.path.name)
    )
    if not run.complete:
        st.warning("This audit was interrupted: what is shown was finished, the rest was not "
                   "measured.")
    rows = table_rows({"findings": run.findings})
    st.dataframe([dict(zip(COLUMNS, row, strict=True)) for row in rows], hide_index=True)
    st.caption("Representations and behaviour only: nothing here says what a model feels, or "
               "whether it does.")


def show_section(found: Section) -> None:
    """What the evidence supports, rung by rung."""
    v = found.verdict
    st.markdown(f"**{markdown(v.model)}**")
    st.markdown(f"### {ladder_bar(v.rung)} {v.rung} · {v.rung_name}")
    st.markdown(markdown(sentence_case(found.sentence)))
    st.markdown(f"**Why it stops here:** {markdown(v.stopped_because)}.")
    st.caption(markdown(v.calibrated))
    for step in found.steps[1:]:
        st.markdown(
            f"{step.rung} · **{step.name}** {MARKS[step.state]}  \n{markdown(step.evidence)}"
        )


def show_figures(run: Run, models: list[str], concept: str) -> None:
    """Every figure of the report that the run has data for, models side by side."""
    template = DARK if st.context.theme.type == "dark" else LIGHT
    for row in FIGURES.values():
        drawn = [(m, f) for m in models if (f := row.draw(run, m, concept)) is not None]
        if not drawn:
            continue
        st.subheader(row.heading, anchor=False)
        st.caption(f"{row.about} {row.cites}")
        for column, (model, figure) in zip(st.columns(len(models)), drawn, strict=False):
            column.markdown(f"**{markdown(figure.layout.meta['title'])}**")
            column.caption(markdown(figure.layout.meta["note"]))
            bare = without_title(figure).update_layout(template=template)
            column.plotly_chart(bare, theme=None, key=f"{row.name}-{concept}-{model}",
                                config={"displaylogo": False})


def show_details(found: list[Section]) -> None:
    """Baselines, passages of SAE features, samples, and what was not tested."""
    for s in found:
        name = visible(s.verdict.model)
        if s.baselines:
            st.subheader("All baselines", anchor=False)
            st.caption(f"{markdown(name)}: AUROC [95 %]; in parentheses the probe minus this one")
            st.dataframe([
                {"source": b.source} | {
                    split: a if d == "–" else f"{a} ({d})"
                    for split, a, d in zip(s.splits, b.aurocs, b.ahead, strict=True)
                }
                for b in s.baselines
            ], hide_index=True)
        if s.features:
            with st.expander(f"What the top SAE features of {markdown(name)} fire on"):
                for feature in s.features:
                    st.markdown(f"**Feature {feature.feature}**, speaks {feature.speaks} the "
                                f"concept: AUROC {markdown(feature.auroc)}, "
                                f"null {feature.null}, active on {feature.density} of examples")
                    for passage in feature.passages:
                        st.html(framed(passage))
        if s.generations:
            with st.expander(f"What {markdown(name)} says at each dose"):
                st.dataframe([
                    {"dose (σ)": g.get("dose"), "prompt": visible(str(g.get("prompt", ""))),
                     "continuation": visible(str(g.get("text", "")))}
                    for g in s.generations
                ], hide_index=True)
        with st.expander(f"What was not tested in {markdown(name)}", expanded=True):
            for text in s.not_tested:
                st.markdown(f"- {markdown(text)}")


def show() -> None:
    """The whole page."""
    run = choose_run()
    check_findings(run)
    show_overview(run)
    if not run.findings:
        st.info("No concept was finished in this run, so there is no finding to show.")
        st.stop()
    concept = st.sidebar.selectbox("Concept", concepts_of(run),
                                   format_func=lambda c: visible(plain_concept(c)))
    models = st.sidebar.multiselect("Models", models_of(run), default=models_of(run),
                                    format_func=visible)
    if not models:
        st.info("Choose at least one model in the sidebar.")
        st.stop()
    st.header(sentence_case(markdown(plain_concept(concept))), anchor=False, divider="gray")
    sections = [s for m in models if (s := section(run, m, concept)) is not None]
    for column, found in zip(st.columns(len(models)), sections, strict=False):
        with column:
            show_section(found)
    show_figures(run, models, concept)
    show_details(sections)
    with st.expander("Provenance"):
        for heading, table in provenance(run).items():
            st.markdown(f"**{markdown(heading)}**")
            st.dataframe([{"name": visible(k), "value": visible(v)} for k, v in table.items()],
                         hide_index=True)


try:
    show()
except (VirtueLensError, OSError) as error:
    st.error(markdown(str(error)))
