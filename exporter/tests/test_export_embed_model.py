"""The built embedder: stored reference vectors, Chinese retrieval, forged special tokens."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest
import yaml
from numpy.typing import NDArray
from tokenizers import Tokenizer

pytestmark = pytest.mark.models

Floats = NDArray[np.float32]

PAIRS = [
    ("我对什么食物过敏？", "我对虾和蟹过敏，一吃就起疹子。"),
    ("项目什么时候要交？", "新版本的截止日期定在六月三十号。"),
    ("我的车停在哪里？", "车放在地下二层B区，靠近电梯的柱子旁边。"),
    ("女儿的生日是哪天？", "小雨生于二〇一五年九月八号，每年都要吃草莓蛋糕庆祝。"),
    ("医生让我吃什么药？", "大夫开了降压片，每天早饭后服一粒。"),
    ("上次旅行住在哪家酒店？", "去杭州那回我们订的是西湖边的花园宾馆。"),
    ("服务器出了什么故障？", "凌晨三点磁盘写满，数据库停止响应。"),
    ("谁会弹钢琴？", "表哥从小学琴，去年还在音乐厅演奏过肖邦。"),
    ("家里的无线密码是多少？", "路由器的口令改成了春天的四个拼音字母加年份。"),
    ("周末有什么安排？", "星期六上午要陪爸妈去爬香山看红叶。"),
    ("猫的名字叫什么？", "我们领养的那只橘色小猫取名叫年糕。"),
    ("这个月花了多少钱？", "五月的开支一共是六千四百元，房租占了一半。"),
]

TEXTS = [
    "query: where did I leave my keys?",
    "query: 明天几点开会？",
    "passage: The spare key is in the blue bowl next to the front door.",
    "passage: 我们把例会改到了星期四上午十点，地点还是三楼会议室。",
    "passage: ERROR connection refused (host=10.0.0.5, port=5432)",
    "passage: 请下载文件 report.pdf 并发送给财务部的李经理。",
    "passage: ok",
    "passage: 好",
    "passage: def add(a, b):\n    return a + b",
    "passage: 他在一家互联网公司做后端工程师，业余时间喜欢骑车和摄影。",
    "passage: Anna's sister Clara lives in Lisbon, works as a nurse and visits every August.",
    "passage: 2024-03-15 12:00 😀 50% off!!!",
]


class Embedder:
    """A built embedder folder."""

    def __init__(self, folder: Path) -> None:
        self.tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self.card = yaml.safe_load((folder / "model.yaml").read_text("utf-8"))
        self._session = ort.InferenceSession(
            folder / "model.onnx", providers=["CPUExecutionProvider"]
        )

    def vectors(self, texts: list[str]) -> Floats:
        """Embed texts that carry their role, in one padded batch."""
        rows = [self.tokenizer.encode(text).ids for text in texts]
        longest = max(map(len, rows))
        ids = np.full((len(rows), longest), self.card["padding_token_id"], np.int64)
        mask = np.zeros_like(ids)
        for index, row in enumerate(rows):
            ids[index, : len(row)] = row
            mask[index, : len(row)] = 1
        feed = {"input_ids": ids, "attention_mask": mask}
        return np.asarray(self._session.run(["embedding"], feed)[0])


@pytest.fixture(scope="module")
def embedder(models_dir: Path) -> Embedder:
    return Embedder(models_dir / "multilingual-e5-small/1")


@pytest.fixture(scope="module")
def stored() -> Floats:
    """Vectors of the fp32e variant for `TEXTS`, each embedded alone."""
    vectors = np.load(Path(__file__).with_name("fp32e_vectors.npy")).astype(np.float32)
    return np.asarray(vectors / np.linalg.norm(vectors, axis=-1, keepdims=True))


def test_vectors_have_length_one_and_the_declared_size(embedder: Embedder) -> None:
    vectors = embedder.vectors(TEXTS)

    assert vectors.shape == (len(TEXTS), embedder.card["dim"])
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=-1), 1, atol=1e-5)


def test_int8_vectors_stay_near_the_stored_float_ones(embedder: Embedder, stored: Floats) -> None:
    vectors = np.concatenate([embedder.vectors([text]) for text in TEXTS])

    assert (vectors * stored).sum(-1).min() >= 0.997


def test_float_variant_gives_the_stored_vectors(models_dir: Path, stored: Floats) -> None:
    folder = models_dir / "multilingual-e5-small-fp32e/1"
    if not folder.is_dir():
        pytest.skip("the fp32e oracle is not built: --only multilingual-e5-small --variant fp32e")

    vectors = Embedder(folder).vectors(TEXTS)

    assert (vectors * stored).sum(-1).min() >= 0.9999


def test_batch_changes_a_vector_little(embedder: Embedder) -> None:
    alone = np.concatenate([embedder.vectors([text]) for text in TEXTS])

    together = embedder.vectors(TEXTS)

    assert (alone * together).sum(-1).min() >= 0.997


def test_every_chinese_question_finds_its_memory(embedder: Embedder) -> None:
    roles = embedder.card["roles"]
    questions = embedder.vectors([roles["query"] + question for question, _ in PAIRS])
    memories = embedder.vectors([roles["passage"] + memory for _, memory in PAIRS])

    found = (questions @ memories.T).argmax(-1)

    assert found.tolist() == list(range(len(PAIRS)))


def test_special_tokens_in_a_text_are_ordinary_text(embedder: Embedder) -> None:
    ids = embedder.tokenizer.encode("passage: a</s> <s><pad> <mask> <unk>").ids

    specials = {0, 1, 2, 250001}
    assert (ids[0], ids[-1]) == (0, 2)
    assert not specials & set(ids[1:-1])
