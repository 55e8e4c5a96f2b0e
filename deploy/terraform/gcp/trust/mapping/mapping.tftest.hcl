# Real evaluation of the expressions that decide who gets in; what they evaluate to for real tokens is tested with Google's own CEL.

variables {
  pool            = "projects/1/locations/global/workloadIdentityPools/kubernetes"
  admit           = "serviceAccounts"
  admit_exporters = true
  admit_unbound   = false

  clusters = {
    prod-eu1 = { issuer = "https://oidc.example.com/prod-eu1", exporter = { subject = "system:serviceaccount:kube-iam-assume:cluster-exporter", namespace = "kube-iam-assume", name = "cluster-exporter" } }
    k3s      = { issuer = "https://oidc.example.com/k3s", exporter = { subject = "system:serviceaccount:kube-iam-assume:cluster-exporter", namespace = "kube-iam-assume", name = "cluster-exporter" } }
  }
  workloads = {
    "production/payments@prod-eu1" = { account = "production/payments", namespace = "production", name = "payments", cluster = "prod-eu1", subject = "system:serviceaccount:production:payments" }
  }
}

run "listed_accounts" {
  command = plan

  assert {
    condition     = output.providers["prod-eu1"].condition == "'pod' in assertion['kubernetes.io'] && assertion.sub in ['system:serviceaccount:kube-iam-assume:cluster-exporter', 'system:serviceaccount:production:payments']"
    error_message = output.providers["prod-eu1"].condition
  }

  assert {
    condition     = output.providers["k3s"].condition == "'pod' in assertion['kubernetes.io'] && assertion.sub in ['system:serviceaccount:kube-iam-assume:cluster-exporter']"
    error_message = "A cluster admits another cluster's workloads: ${output.providers["k3s"].condition}"
  }

  assert {
    condition     = output.providers["prod-eu1"].mapping["google.subject"] == "'prod-eu1:' + assertion.sub" && output.providers["prod-eu1"].mapping["attribute.pod_uid"] == "assertion['kubernetes.io']['pod']['uid']"
    error_message = jsonencode(output.providers["prod-eu1"].mapping)
  }

  assert {
    condition     = output.principals["production/payments@prod-eu1"] == "principalSet://iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/kubernetes/attribute.workload/prod-eu1/production/payments"
    error_message = output.principals["production/payments@prod-eu1"]
  }

  assert {
    condition     = output.providers["prod-eu1"].id == "prod-eu1" && output.providers["prod-eu1"].audience == "https://iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/kubernetes/providers/prod-eu1"
    error_message = output.providers["prod-eu1"].audience
  }

  assert {
    condition     = can(regex("^id-[0-9a-f]{24}$", output.providers["k3s"].id))
    error_message = "A cluster ID of 3 characters became the provider ID ${output.providers["k3s"].id}, and Google wants 4 to 32."
  }
}

run "nobody_is_listed" {
  command = plan

  variables {
    admit_exporters = false
    workloads       = {}
  }

  assert {
    condition     = output.providers["prod-eu1"].condition == "false"
    error_message = "With nobody listed somebody is admitted: ${output.providers["prod-eu1"].condition}"
  }
}

run "long_names" {
  command = plan

  variables {
    workloads = {
      "long@prod-eu1" = { account = "n/x", namespace = "n", name = "x", cluster = "prod-eu1", subject = "system:serviceaccount:a-namespace-of-sixty-three-characters-which-is-all-that-one-can-ha:${join("", [for i in range(100) : "a"])}" }
    }
  }

  assert {
    condition     = startswith(output.providers["prod-eu1"].mapping["google.subject"], "assertion.sub in ['system:serviceaccount:a-namespace") && endswith(output.providers["prod-eu1"].mapping["google.subject"], "'] ? 'prod-eu1:uid:' + assertion['kubernetes.io']['serviceaccount']['uid'] : 'prod-eu1:' + assertion.sub")
    error_message = output.providers["prod-eu1"].mapping["google.subject"]
  }

  assert {
    condition     = output.providers["k3s"].mapping["google.subject"] == "'k3s:' + assertion.sub"
    error_message = output.providers["k3s"].mapping["google.subject"]
  }
}

run "very_many_long_names" {
  command = plan

  variables {
    workloads = { for i in range(8) : "long${i}@prod-eu1" => { account = "n/x", namespace = "n", name = "x", cluster = "prod-eu1", subject = "system:serviceaccount:namespace:${i}${join("", [for i in range(250) : "a"])}" } }
  }

  assert {
    condition     = output.providers["prod-eu1"].mapping["google.subject"] == "'prod-eu1:uid:' + assertion['kubernetes.io']['serviceaccount']['uid']"
    error_message = output.providers["prod-eu1"].mapping["google.subject"]
  }
}

run "too_many_accounts" {
  command = plan

  variables {
    workloads = { for i in range(100) : "a${i}@prod-eu1" => { account = "n/x", namespace = "n", name = "x", cluster = "prod-eu1", subject = "system:serviceaccount:namespace-${i}:account" } }
  }

  expect_failures = [output.providers]
}

run "so_by_namespace" {
  command = plan

  variables {
    admit     = "namespaces"
    workloads = { for i in range(100) : "a${i}@prod-eu1" => { account = "n/x", namespace = "n", name = "x", cluster = "prod-eu1", subject = "system:serviceaccount:namespace:account-${i}" } }
  }

  assert {
    condition     = output.providers["prod-eu1"].condition == "'pod' in assertion['kubernetes.io'] && assertion['kubernetes.io']['namespace'] in ['kube-iam-assume', 'namespace']"
    error_message = output.providers["prod-eu1"].condition
  }
}

run "unbound_tokens" {
  command = plan

  variables {
    admit_unbound = true
  }

  assert {
    condition     = output.providers["prod-eu1"].condition == "assertion.sub in ['system:serviceaccount:kube-iam-assume:cluster-exporter', 'system:serviceaccount:production:payments']" && !contains(keys(output.providers["prod-eu1"].mapping), "attribute.pod")
    error_message = output.providers["prod-eu1"].condition
  }
}

run "another_word" {
  command = plan

  variables {
    admit = "everybody"
  }

  expect_failures = [var.admit]
}
