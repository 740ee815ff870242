"""Feature cards: what `virtuelens sae card --out` wrote, one feature at a time."""

import streamlit as st

from virtuelens.errors import VirtueLensError
from virtuelens.reports import browse
from virtuelens.reports.cards import card_figures, card_words, read_cards
from virtuelens.reports.summary import markdown
from virtuelens.reports.theme import DARK, LIGHT, without_title
from virtuelens.reports.tokens import framed
from virtuelens.reports.words import visible

PATTERN = "feature-*.json"


def show() -> None:
    """The whole page."""
    folder = browse.runs_folder()
    names = browse.folders_with(folder, PATTERN)
    st.title("Feature cards", anchor=False)
    if not names:
        st.info("There are no feature cards in this folder yet. Make some with: "
                f"`virtuelens sae card sycophant-mid 3,17 --out {folder}/cards`")
        st.stop()
    name = st.sidebar.selectbox("Cards", names, format_func=visible)
    cards = read_cards(browse.named_folder(folder, name, PATTERN))
    which = st.sidebar.selectbox("Feature", range(len(cards)), format_func=lambda k: visible(
        f"{cards[k]['feature']} of {cards[k]['sae']}"))
    card, words = cards[which], card_words(cards[which])
    st.header(markdown(words["title"]), anchor=False, divider="gray")
    st.markdown(f"{markdown(words['at'])}; active at {words['density']} of {words['n_tokens']} "
                f"tokens in {words['n_texts']} texts, at most {words['largest']}.")
    if words["steering"]:
        s = words["steering"]
        st.markdown(f"Added at every token at its largest activation it moves predictions by KL "
                    f"{markdown(s['kl'])} nats a token; of random directions of equal size the "
                    f"largest moves them by {s['null']}.")
    template = DARK if st.context.theme.type == "dark" else LIGHT
    figures = card_figures(card)
    for k, (column, figure) in enumerate(zip(st.columns(len(figures) or 1), figures,
                                             strict=False)):
        column.markdown(f"**{markdown(figure.layout.meta['title'])}**")
        column.caption(markdown(figure.layout.meta["note"]))
        column.plotly_chart(without_title(figure).update_layout(template=template), theme=None,
                            key=f"{name}-{which}-{k}", config={"displaylogo": False})
    st.subheader("Where it is strongest", anchor=False)
    for passage in words["top"]:
        st.html(framed(passage["html"]))
    for band in words["bands"]:
        with st.expander(f"Activation {band['name']}: {band['n']} texts"):
            for passage in band["passages"]:
                st.html(framed(passage["html"]))
    if words["concepts"]:
        st.subheader("Concepts", anchor=False)
        st.dataframe(words["concepts"], hide_index=True)
    st.caption(f"Nearest decoder rows (cosine): {markdown(', '.join(words['nearest']))}")


try:
    show()
except (VirtueLensError, OSError) as error:
    st.error(markdown(str(error)))
