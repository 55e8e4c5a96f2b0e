variables {
  partition   = "aws"
  account     = "111122223333"
  audience    = "sts.amazonaws.com"
  per_cluster = []
  maximum     = 2048

  workloads = {
    "production/payments@prod-eu1" = { account = "production/payments", namespace = "production", name = "payments", cluster = "prod-eu1", host = "oidc.example.com/prod-eu1", subject = "system:serviceaccount:production:payments" }
    "production/payments@prod-us1" = { account = "production/payments", namespace = "production", name = "payments", cluster = "prod-us1", host = "oidc.example.com/prod-us1", subject = "system:serviceaccount:production:payments" }
  }
}

run "one_role_for_both_clusters" {
  command = plan

  assert {
    condition = output.policies == { "production/payments" = jsonencode({
      Version = "2012-10-17"
      Statement = [for cluster in ["prod-eu1", "prod-us1"] : {
        Effect    = "Allow"
        Action    = "sts:AssumeRoleWithWebIdentity"
        Principal = { Federated = "arn:aws:iam::111122223333:oidc-provider/oidc.example.com/${cluster}" }
        Condition = { StringEquals = {
          "oidc.example.com/${cluster}:aud" = "sts.amazonaws.com"
          "oidc.example.com/${cluster}:sub" = "system:serviceaccount:production:payments"
        } }
      }]
    }) }
    error_message = jsonencode(output.policies)
  }
}

run "one_role_for_each_cluster" {
  command = plan

  variables {
    per_cluster = ["production/payments"]
  }

  assert {
    condition     = join(" ", keys(output.policies)) == "production/payments@prod-eu1 production/payments@prod-us1" && length(jsondecode(output.policies["production/payments@prod-us1"]).Statement) == 1 && strcontains(output.policies["production/payments@prod-us1"], "oidc.example.com/prod-us1:sub")
    error_message = jsonencode(output.policies)
  }
}

run "china" {
  command = plan

  variables {
    partition = "aws-cn"
  }

  assert {
    condition     = strcontains(output.policies["production/payments"], "arn:aws-cn:iam::111122223333:oidc-provider/")
    error_message = jsonencode(output.policies)
  }
}

run "too_many_clusters" {
  command = plan

  variables {
    workloads = { for i in range(9) : "production/payments@prod-${i}" => { account = "production/payments", namespace = "production", name = "payments", cluster = "prod-${i}", host = "oidc.example.com/prod-${i}", subject = "system:serviceaccount:production:payments" } }
  }

  expect_failures = [output.policies]
}

run "the_quota_was_raised" {
  command = plan

  variables {
    maximum   = 8192
    workloads = { for i in range(9) : "production/payments@prod-${i}" => { account = "production/payments", namespace = "production", name = "payments", cluster = "prod-${i}", host = "oidc.example.com/prod-${i}", subject = "system:serviceaccount:production:payments" } }
  }

  assert {
    condition     = length(jsondecode(output.policies["production/payments"]).Statement) == 9
    error_message = jsonencode(output.policies)
  }
}

run "no_account" {
  command = plan

  variables {
    account = "1111"
  }

  expect_failures = [var.account]
}
