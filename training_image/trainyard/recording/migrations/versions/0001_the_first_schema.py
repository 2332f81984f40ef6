"""The first schema"""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

# As they were at this revision: a migration does not change with the code.
OF_TRIAL = "t.run_id = r.run_id and t.attempt = r.attempt and t.trial = r.trial"
LIVE = "(t.live_until is null or r.position <= t.live_until)"
VIEWS = {
    f"live_{table}": f"select r.* from {table} r join trials t on {OF_TRIAL} where {LIVE}"
    for table in ("iterations", "episodes", "evaluations")
} | {
    f"live_{table}": f"select r.* from {table} r "
    "join episodes e on e.run_id = r.run_id and e.episode = r.episode "
    f"join trials t on t.run_id = e.run_id and t.attempt = e.attempt and t.trial = e.trial where {LIVE}"
    for table in ("steps", "trades")
}


def upgrade() -> None:
    op.create_table(
        "runs",
        sa.Column("run_id", sa.Integer(), nullable=False),
        sa.Column("identity", sa.String(length=128), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("namespace", sa.Text(), nullable=False),
        sa.Column("uid", sa.Text(), nullable=False),
        sa.Column("seed", sa.BigInteger(), nullable=False),
        sa.Column("specification", sa.JSON(), nullable=False),
        sa.Column("versions", sa.JSON(), nullable=False),
        sa.Column("created", sa.DateTime(timezone=True), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("run_id", name="pk_runs"),
        sa.UniqueConstraint("identity", name="uq_runs_identity"),
    )
    op.create_index("ix_runs_name", "runs", ["name"])

    op.create_table(
        "steps",
        sa.Column("run_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("episode", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("t", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("reward", sa.Double(), nullable=False),
        sa.Column("date", sa.String(length=32), nullable=True),
        sa.Column("portfolio_value", sa.Double(), nullable=True),
        sa.PrimaryKeyConstraint("run_id", "episode", "t", name="pk_steps"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "trades",
        sa.Column("run_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("episode", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("t", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("n", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.Column("date", sa.String(length=32), nullable=True),
        sa.Column("symbol", sa.String(length=64), nullable=False),
        sa.Column("quantity", sa.Double(), nullable=False),
        sa.Column("price", sa.Double(), nullable=False),
        sa.Column("cost", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("run_id", "episode", "t", "n", name="pk_trades"),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_trades_run_id_symbol_date", "trades", ["run_id", "symbol", "date"])

    op.create_table(
        "attempts",
        sa.Column("run_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("attempt", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("cluster_attempt", sa.Integer(), nullable=False),
        sa.Column("submission", sa.Integer(), nullable=False),
        sa.Column("job_id", sa.Text(), nullable=False),
        sa.Column("hostname", sa.Text(), nullable=False),
        sa.Column("started", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ended", sa.DateTime(timezone=True), nullable=True),
        sa.Column("outcome", sa.Text(), nullable=True),
        sa.Column("restored_iteration", sa.Integer(), nullable=False),
        sa.Column("restored_position", sa.BigInteger(), nullable=True),
        sa.Column("findings", sa.JSON(), nullable=True),
        sa.ForeignKeyConstraint(["run_id"], ["runs.run_id"], name="fk_attempts_runs", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("run_id", "attempt", name="pk_attempts"),
    )
    op.create_table(
        "trials",
        sa.Column("run_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("attempt", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("trial", sa.String(length=64), nullable=False),
        sa.Column("parameters", sa.JSON(), nullable=False),
        sa.Column("started", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ended", sa.DateTime(timezone=True), nullable=True),
        sa.Column("outcome", sa.Text(), nullable=True),
        sa.Column("live_until", sa.BigInteger(), nullable=True),
        sa.Column("superseded_by", sa.Integer(), nullable=True),
        sa.ForeignKeyConstraint(
            ["run_id", "attempt"],
            ["attempts.run_id", "attempts.attempt"],
            name="fk_trials_attempts",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("run_id", "attempt", "trial", name="pk_trials"),
    )
    op.create_table(
        "episodes",
        sa.Column("run_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("episode", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("trial", sa.String(length=64), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("runner", sa.Integer(), nullable=False),
        sa.Column("incarnation", sa.Integer(), nullable=False),
        sa.Column("env", sa.Integer(), nullable=False),
        sa.Column("n", sa.BigInteger(), nullable=False),
        sa.Column("iteration", sa.Integer(), nullable=False),
        sa.Column("policy_version", sa.BigInteger(), nullable=True),
        sa.Column("episode_index", sa.BigInteger(), nullable=True),
        sa.Column("started_position", sa.BigInteger(), nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.Column("ended", sa.DateTime(timezone=True), nullable=True),
        sa.Column("terminated", sa.Boolean(), nullable=True),
        sa.Column("length", sa.BigInteger(), nullable=False),
        sa.Column("total_reward", sa.Double(), nullable=False),
        sa.Column("steps_recorded", sa.Boolean(), nullable=False),
        sa.Column("context", sa.JSON(), nullable=True),
        sa.Column("figures", sa.JSON(), nullable=True),
        sa.ForeignKeyConstraint(
            ["run_id", "attempt", "trial"],
            ["trials.run_id", "trials.attempt", "trials.trial"],
            name="fk_episodes_trials",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("run_id", "episode", name="pk_episodes"),
        sa.UniqueConstraint(
            "run_id", "attempt", "trial", "kind", "runner", "incarnation", "env", "n", name="uq_episodes_identity"
        ),
    )
    op.create_index("ix_episodes_run_id_episode_index", "episodes", ["run_id", "episode_index"])
    op.create_index("ix_episodes_run_id_trial_kind_iteration", "episodes", ["run_id", "trial", "kind", "iteration"])

    op.create_table(
        "evaluations",
        sa.Column("run_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("attempt", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("trial", sa.String(length=64), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("iteration", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.Column("time", sa.DateTime(timezone=True), nullable=False),
        sa.Column("seconds", sa.Double(), nullable=False),
        sa.Column("episodes", sa.Integer(), nullable=False),
        sa.Column("metrics", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(
            ["run_id", "attempt", "trial"],
            ["trials.run_id", "trials.attempt", "trials.trial"],
            name="fk_evaluations_trials",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("run_id", "attempt", "trial", "kind", "iteration", name="pk_evaluations"),
    )
    op.create_table(
        "iterations",
        sa.Column("run_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("attempt", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("trial", sa.String(length=64), nullable=False),
        sa.Column("iteration", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.Column("time", sa.DateTime(timezone=True), nullable=False),
        sa.Column("seconds", sa.Double(), nullable=False),
        sa.Column("env_steps", sa.BigInteger(), nullable=False),
        sa.Column("episodes", sa.BigInteger(), nullable=False),
        sa.Column("metrics", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(
            ["run_id", "attempt", "trial"],
            ["trials.run_id", "trials.attempt", "trials.trial"],
            name="fk_iterations_trials",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("run_id", "attempt", "trial", "iteration", name="pk_iterations"),
    )
    for name, query in VIEWS.items():
        op.execute(f"create view {name} as {query}")


def downgrade() -> None:
    for name in VIEWS:
        op.execute(f"drop view {name}")
    for table in ("trades", "steps", "iterations", "evaluations", "episodes", "trials", "attempts", "runs"):
        op.drop_table(table)
