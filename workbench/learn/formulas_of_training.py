"""Formulas of what changes while a model trains: losses, rates, norms, speed."""

import math

from workbench.estimate import train_flops_per_token
from workbench.learn.rules import Rule, Rules
from workbench.learn.values import MissingValueError, Values

_HEIGHTS = {
    "cosine": Rule("height = (1 + cos(π × p)) / 2", "(1 + cos(π × {progress})) / 2", lambda v: v.height),
    "linear": Rule("height = 1 - p", "1 - {progress}", lambda v: v.height),
    "wsd": Rule("height = 1 - √(p)", "1 - √({progress})", lambda v: v.height),
}


def _learning_rate(v: Values) -> list[Rule]:
    """The course that the stage's schedule takes, at its latest step."""
    if not v.knows("schedule"):
        return [Rule("learning_rate = peak × course(step)", "{learning_rate}", lambda v: v.learning_rate)]
    if v.knows("step") and v.step_index < v.warmup:
        rise = "learning_rate = learning_rate × step / warmup"
        return [Rule(rise, "{peak} × {step} / {warmup}", lambda v: v.peak * v.step / v.warmup)]
    if v.schedule == "constant":
        return [Rule("learning_rate = peak", "{peak}", lambda v: v.peak)]
    start = Rule("start = warmup", "{warmup}", lambda v: v.warmup)
    if v.schedule == "wsd":
        symbols = "start = max(warmup, steps - 1 - ceil(steps × decay_fraction))"
        filled = "max({warmup}, {steps} - 1 - ceil({steps} × {decay_fraction}))"
        start = Rule(symbols, filled, lambda v: v.decay_start)
    symbols = "p = (step - 1 - start) / (steps - 1 - start)"
    filled = "max(0, {step} - 1 - {decay_start}) / ({steps} - 1 - {decay_start})"
    whole = "learning_rate = peak × (ratio + (1 - ratio) × height)"
    return [
        start,
        Rule(symbols, filled, lambda v: v.progress),
        _HEIGHTS[v.schedule],
        Rule(
            whole,
            "{peak} × ({final_ratio} + (1 - {final_ratio}) × {height})",
            lambda v: v.peak * (v.final_ratio + (1 - v.final_ratio) * v.height),
        ),
    ]


def _flops_per_token(v: Values) -> list[Rule]:
    def total(v: Values) -> float:
        return train_flops_per_token(v.config, v.config.vocab_size, v.settings.sequence_length, v.settings.lora)

    attention = Rule(
        "attention = 6 × layers × heads × head_dim × sequence_length",
        "6 × {num_hidden_layers} × {num_attention_heads} × {head_dim} × {sequence_length}",
        lambda v: 6 * v.num_hidden_layers * v.num_attention_heads * v.head_dim * v.sequence_length,
    )
    if v.knows("lora"):
        symbols = "flops_per_token = 4 × weights + 6 × lora + attention"
        filled = "4 × {flop_weights} + 6 × {lora_parameters} + {flop_attention}"
    else:
        symbols, filled = "flops_per_token = 6 × weights + attention", "6 × {flop_weights} + {flop_attention}"
    return [attention, Rule(symbols, filled, total)]


def _clip(v: Values) -> list[Rule]:
    norm = Rule("grad_norm = √(Σ gradient²)", "{grad_norm}", lambda v: v.grad_norm)
    scale = Rule("scale = min(1, clip / grad_norm)", "min(1, {clip} / {grad_norm})", _clip_scale)
    return [norm, scale]


def _clip_scale(v: Values) -> float:
    return min(1.0, v.clip / v.grad_norm) if v.clip else 1.0


def _preference_loss(v: Values) -> list[Rule]:
    """The loss of one pair, for the loss that the stage takes."""
    kind = v.preferences.loss if v.knows("preferences") else "sigmoid"
    still = Rule("loss(margin = 0) = ln(2)", "ln(2)", lambda v: math.log(2))
    match kind:
        case "ipo":
            wanted = Rule("wanted lead = 1 / (2 × beta)", "1 / (2 × {beta})", lambda v: 1 / (2 * v.beta))
            return [Rule("loss = (lead - 1 / (2 × beta))²", "{loss}", _of_pairs), wanted]
        case "simpo":
            lead = Rule("wanted lead = gamma / beta", "{gamma} / {beta}", lambda v: v.gamma / v.beta)
            return [Rule("loss = -ln(sigmoid(beta × lead - gamma))", "{loss}", _of_pairs), lead]
        case "orpo":
            return [Rule("loss = nll(chosen) - beta × ln(sigmoid(log_odds_ratio))", "{loss}", _of_pairs)]
    return [Rule("loss = -ln(sigmoid(beta × (chosen_ratio - rejected_ratio)))", "{loss}", _of_pairs), still]


def _tokens(v: Values) -> list[Rule]:
    """What was seen; rows of pairs are cut to the longest of their step, and come to less."""
    sign = "<=" if v.knows("kind") and v.kind == "dpo" else "="
    most = "{step} × {tokens_per_step}"
    return [Rule(f"tokens {sign} step × tokens_per_step", most, lambda v: v.step * v.tokens_per_step)]


def _of_pairs(v: Values) -> float:
    if v.kind != "dpo":
        raise MissingValueError("loss")
    return float(v.loss)


def _balance(v: Values) -> list[Rule]:
    worst = Rule("worst = experts / visited", "{experts} / {visited}", lambda v: v.experts / v.visited)
    return [Rule("balance_loss = E × Σ (visits × probability)", "{balance_loss}", lambda v: v.balance_loss), worst]


TRAINING_RULES: dict[str, Rules] = {
    "loss": (
        Rule("loss = -(1 / N) × Σ ln(p(target))", "{loss}", lambda v: v.loss, "nats"),
        Rule("among = exp(loss)", "exp({loss})", lambda v: math.exp(v.loss)),
    ),
    "first_loss": (
        Rule("blind guess = ln(vocab_size)", "ln({vocab_size})", lambda v: math.log(v.vocab_size), "nats"),
        Rule("first_loss", "{first_loss}", lambda v: v.first_loss, "nats"),
    ),
    "val_loss": (
        Rule("val_loss = nats / targets", "{val_loss}", lambda v: v.val_loss, "nats"),
        Rule("val_loss - loss", "{val_loss} - {loss}", lambda v: v.val_loss - v.loss, "nats"),
    ),
    "val_perplexity": (Rule("perplexity = exp(val_loss)", "exp({val_loss})", lambda v: math.exp(v.val_loss)),),
    "val_bits_per_byte": (
        Rule("bits = val_loss / ln(2)", "{val_loss} / ln(2)", lambda v: v.val_loss / math.log(2), "bits/token"),
        Rule("bits_per_byte = bits / bytes_per_token", "{val_bits_per_byte}", lambda v: v.val_bits_per_byte),
        Rule(
            "bytes_per_token = bits / bits_per_byte",
            "{val_loss} / ln(2) / {val_bits_per_byte}",
            lambda v: v.val_loss / math.log(2) / v.val_bits_per_byte,
        ),
    ),
    "learning_rate": _learning_rate,
    "grad_norm": _clip,
    "tokens": _tokens,
    "tokens_per_step": (
        Rule(
            "tokens_per_step = batch_size × rows × sequence_length",
            "{batch_size} × {rows} × {sequence_length}",
            lambda v: v.batch_size * v.rows * v.sequence_length,
        ),
    ),
    "tokens_per_second": (
        Rule(
            "tokens/s = tokens of the last 50 steps / their seconds",
            "{tokens_per_second}",
            lambda v: v.tokens_per_second,
        ),
        Rule("mean = tokens / seconds", "{tokens} / {seconds}", lambda v: v.tokens / v.seconds, "tokens/s"),
    ),
    "step_time": (
        Rule(
            "seconds per step = tokens_per_step / tokens_per_second",
            "{tokens_per_step} / {tokens_per_second}",
            lambda v: v.tokens_per_step / v.tokens_per_second,
            "s",
        ),
    ),
    "eta": (
        Rule(
            "eta = (steps - step) × tokens_per_step / tokens_per_second",
            "({steps} - {step}) × {tokens_per_step} / {tokens_per_second}",
            lambda v: (v.steps - v.step) * v.tokens_per_step / v.tokens_per_second,
            "s",
        ),
    ),
    "flops_per_token": _flops_per_token,
    "mfu": (
        Rule(
            "achieved = tokens_per_second × flops_per_token",
            "{tokens_per_second} × {flops_per_token}",
            lambda v: v.tokens_per_second * v.flops_per_token,
            "FLOP/s",
        ),
        Rule("mfu = achieved / ceiling", "{mfu}", lambda v: v.mfu),
        Rule(
            "ceiling = achieved / mfu",
            "{tokens_per_second} × {flops_per_token} / {mfu}",
            lambda v: v.tokens_per_second * v.flops_per_token / v.mfu,
            "FLOP/s",
        ),
    ),
    "memory_bytes": (
        Rule("GiB = memory_bytes / 1024³", "{memory_bytes} / 1024³", lambda v: v.memory_bytes / 1024**3, "GiB"),
    ),
    "balance_loss": _balance,
    "router_z_loss": (
        Rule("router_z_loss = mean(logsumexp(logits)²)", "{router_z_loss}", lambda v: v.router_z_loss),
        Rule("at zero logits = ln(experts)²", "ln({experts})²", lambda v: math.log(v.experts) ** 2),
    ),
    "expert_load": (
        Rule("fair share = 1 / experts", "1 / {experts}", lambda v: 1 / v.experts),
        Rule("busiest = max(expert_load)", "{busiest}", lambda v: v.busiest),
        Rule("idlest = min(expert_load)", "{idlest}", lambda v: v.idlest),
    ),
    "dpo_loss": _preference_loss,
    "reward_margin": (
        Rule("margin = beta × (chosen_ratio - rejected_ratio)", "{reward_margin}", lambda v: v.reward_margin),
        Rule(
            "p(chosen is better) = sigmoid(margin)",
            "1 / (1 + exp(-{reward_margin}))",
            lambda v: 1 / (1 + math.exp(-v.reward_margin)),
        ),
    ),
    "reward_accuracy": (
        Rule("accuracy = pairs with margin > 0 / pairs", "{reward_accuracy}", lambda v: v.reward_accuracy),
    ),
    "kl": (
        Rule("d = ln(p_reference) - ln(p)"),
        Rule("kl = mean(exp(d) - 1 - d)", "{kl}", lambda v: v.kl, "nats"),
    ),
    "distill_loss": (
        Rule(
            "loss = alpha × cross_entropy + (1 - alpha) × T² × kl",
            "{distill_alpha} × {cross_entropy} + (1 - {distill_alpha}) × {distill_temperature}² × {kl}",
            lambda v: v.distill_alpha * v.cross_entropy + (1 - v.distill_alpha) * v.distill_temperature**2 * v.kl,
        ),
    ),
    "epochs": (
        Rule(
            "epochs = step × tokens_per_step / data tokens",
            "{step} × {tokens_per_step} / {data_tokens}",
            lambda v: v.step * v.tokens_per_step / v.data_tokens,
        ),
    ),
    "stage.learning_rate": _learning_rate,
    "stage.clip": _clip,
    "stage.schedule": _learning_rate,
    "stage.dpo.loss": _preference_loss,
    "stage.dpo.beta": _preference_loss,
    "stage.min_learning_rate_ratio": (
        Rule("last rate = learning_rate × ratio", "{peak} × {final_ratio}", lambda v: v.peak * v.final_ratio),
    ),
    "stage.warmup": (
        Rule("share = warmup / steps", "{warmup} / {steps}", lambda v: v.warmup / v.steps),
        Rule(
            "first rate = learning_rate / max(1, warmup)",
            "{peak} / max(1, {warmup})",
            lambda v: v.peak / max(1, v.warmup),
        ),
    ),
    "stage.decay_fraction": (
        Rule(
            "steps of the fall = ceil(steps × decay_fraction)",
            "ceil({steps} × {decay_fraction})",
            lambda v: math.ceil(v.steps * v.decay_fraction),
        ),
    ),
    "stage.steps": (
        Rule(
            "tokens = steps × tokens_per_step",
            "{steps} × {tokens_per_step}",
            lambda v: v.steps * v.tokens_per_step,
        ),
        Rule(
            "tokens per parameter = tokens / parameters",
            "{steps} × {tokens_per_step} / {all_parameters}",
            lambda v: v.steps * v.tokens_per_step / v.all_parameters,
        ),
    ),
    "stage.ema": (Rule("memory = 1 / (1 - ema)", "1 / (1 - {ema})", lambda v: 1 / (1 - v.ema), "steps"),),
    "stage.optimizer.betas": (
        Rule("gradient remembered = 1 / (1 - beta1)", "1 / (1 - {beta1})", lambda v: 1 / (1 - v.beta1), "steps"),
        Rule("its square = 1 / (1 - beta2)", "1 / (1 - {beta2})", lambda v: 1 / (1 - v.beta2), "steps"),
    ),
    "stage.optimizer.weight_decay": (
        Rule(
            "pull per step = learning_rate × weight_decay",
            "{learning_rate} × {weight_decay}",
            lambda v: v.learning_rate * v.weight_decay,
        ),
    ),
    "stage.optimizer.momentum": (
        Rule(
            "gradient remembered = 1 / (1 - momentum)", "1 / (1 - {momentum})", lambda v: 1 / (1 - v.momentum), "steps"
        ),
    ),
    "adamw": (
        Rule("m = beta1 × m + (1 - beta1) × gradient"),
        Rule("s = beta2 × s + (1 - beta2) × gradient²"),
        Rule("w = w - learning_rate × (m / (√(s) + eps) + weight_decay × w)"),
    ),
    "muon": (
        Rule("m = momentum × m + (1 - momentum) × gradient"),
        Rule("w = w - learning_rate × (length × orthogonal(m) + weight_decay × w)"),
        Rule(
            "length = 0.2 × √(max(rows, columns))",
            "0.2 × √({larger_side})",
            lambda v: 0.2 * v.larger_side**0.5,
        ),
    ),
}
for _name, _same in (("stage.batch_size", "tokens_per_step"), ("stage.sequence_length", "tokens_per_step")):
    TRAINING_RULES[_name] = TRAINING_RULES[_same]
for _name in ("stage.tokens", "stage.epochs"):
    TRAINING_RULES[_name] = TRAINING_RULES["stage.steps"]
