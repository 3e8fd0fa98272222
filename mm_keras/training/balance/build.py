"""A recipe's network -> the one that its balances train."""

from mm_keras.registry import BALANCES, TASK_BALANCES, resolve


def is_balanced(training):
    """Whether a recipe's `Training` asks for a balance of inputs or of tasks."""
    return training.balance.kind != "none" or training.task_balance.kind != "none"


def own_heads(training):
    """Returns how inputs' own heads are there: `"no"`, `"watch"` only, or they `"teach"` their encoders."""
    if training.auxiliary or training.balance.kind not in ("none", "ogm_ge"):
        return "teach"
    return "no" if training.balance.kind == "none" else "watch"


def own_share(training, inputs):
    """Returns the factor on the loss of an input's own head, beside that of the fusion."""
    return training.auxiliary / inputs if training.auxiliary or training.balance.kind == "none" else 1.0


def balanced_network(recipe, model, network, heads, tasks, shares):
    """Returns the network that is trained: `network` itself when nothing is balanced. Arguments as in `make_plan`."""
    training = recipe.training
    if not is_balanced(training):
        return network
    # These take gradients with TensorFlow, which others do without.
    from mm_keras.training.balance.network import BalancedNetwork
    from mm_keras.training.balance.plan import make_plan

    plan = make_plan(recipe, model, network, heads, tasks, shares)
    options = dict(training.balance.all_options)
    if training.balance.kind == "ogm_ge":
        options["seed"] = training.seed
    return BalancedNetwork(
        network.input,
        network.output,
        name=network.name,
        plan=plan,
        inputs_balance=resolve(BALANCES[training.balance.kind])(plan, **options),
        tasks_balance=resolve(TASK_BALANCES[training.task_balance.kind])(plan, **training.task_balance.all_options),
    )
