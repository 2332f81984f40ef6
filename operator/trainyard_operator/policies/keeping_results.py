"""The results of an ended run: written to their ConfigMap before the cluster goes."""

from dataclasses import replace

from trainyard_operator import steps
from trainyard_operator.building.results_map import results_config_map
from trainyard_operator.model import KeepResults, Observed, Plan
from trainyard_operator.policies import Context
from trainyard_operator.vocabulary import ConditionType


def keep_results(observed: Observed, plan: Plan) -> Plan:
    """Write the results in the pass that ends the run; the cluster is deleted only after that is on record."""
    line = observed.progress
    if line is None or line.job_id != plan.status.job_id:
        return plan
    return steps.do(plan, KeepResults(results_config_map(observed.run, line)))


def kept(observed: Observed, plan: Plan, context: Context, name: str) -> Plan:
    plan = replace(plan, status=replace(plan.status, results={"configMap": name}))
    text = f"summary and tables are in ConfigMap {name}"
    plan = steps.condition(plan, observed, context.now, ConditionType.RESULTS_KEPT, True, "Kept", text)
    return steps.look_again(plan, 0)


def lost(observed: Observed, plan: Plan, context: Context, message: str) -> Plan:
    return steps.condition(plan, observed, context.now, ConditionType.RESULTS_KEPT, False, "NotWritten", message)
