"""Real Spark on this machine whose Python processes lack something: what a driver makes of that."""

import pytest
from tests.spark.delegated import Bench

from headsaw.spark.driver import Ending
from headsaw.spark.reach import AwsSite
from headsaw.spark.rounds import Cluster

pytestmark = [pytest.mark.emulator, pytest.mark.timeout(240)]


class HomemadeSite(AwsSite):
    """Of a module that Spark's Python processes don't have."""


def test_executors_without_the_package_are_told_of_before_anybody_registers(
    local_aws: Bench, spark_cluster: Cluster
) -> None:
    manifest = local_aws.delegate("01", local_aws.land({"a": b'{"n":1}\n'}), local_aws.settings())
    assert isinstance(local_aws.site, AwsSite)
    local_aws.site = HomemadeSite(None, local_aws.site.ledger_table, local_aws.site.ledger_retention_seconds, ())
    assert local_aws.drive(manifest, spark_cluster) is Ending.UNFIT
    (told,) = [told for told in local_aws.told if told.message == "run can't do its work"]
    assert "Spark: ModuleNotFoundError: No module named " in str(told.fields["reason"])
    run = local_aws.batch(manifest).run
    assert run is not None
    assert run.driver is None
