# With the real provider's schema and none of its calls, where the provider can be had.

mock_provider "google" {
  override_during = plan

  mock_data "google_project" {
    defaults = {
      number = "111122223333"
    }
  }
}

variables {
  project_id         = "example-project"
  issuer_base        = "https://oidc.example.com"
  clusters_directory = "../../clusters/testdata/clusters"
  service_accounts   = { "production/payments" = { clusters = ["prod-eu1"], roles = ["roles/storage.objectViewer"], impersonate = ["payments@example-project.iam.gserviceaccount.com"] } }
}

run "fetched_keys" {
  command = plan

  assert {
    condition     = join(" ", keys(google_iam_workload_identity_pool_provider.fetched)) == "prod-eu1 prod-us1" && google_iam_workload_identity_pool_provider.fetched["prod-eu1"].oidc[0].issuer_uri == "https://oidc.example.com/prod-eu1" && length(google_iam_workload_identity_pool_provider.uploaded) == 0
    error_message = "Other providers."
  }

  assert {
    condition     = google_iam_workload_identity_pool_provider.fetched["prod-us1"].attribute_condition == "false"
    error_message = "A cluster with nobody listed lets somebody in."
  }

  assert {
    condition = (
      google_project_iam_member.workload["production/payments@prod-eu1 roles/storage.objectViewer"].member == "principalSet://iam.googleapis.com/projects/111122223333/locations/global/workloadIdentityPools/kubernetes/attribute.workload/prod-eu1/production/payments" &&
      google_service_account_iam_member.workload["production/payments@prod-eu1 payments@example-project.iam.gserviceaccount.com"].role == "roles/iam.workloadIdentityUser"
    )
    error_message = "Other grants."
  }

  assert {
    condition     = jsondecode(output.credentials["prod-eu1"]).audience == "//iam.googleapis.com/projects/111122223333/locations/global/workloadIdentityPools/kubernetes/providers/prod-eu1" && "https:${jsondecode(output.credentials["prod-eu1"]).audience}" == output.audiences["prod-eu1"]
    error_message = output.credentials["prod-eu1"]
  }
}

run "uploaded_keys" {
  command = plan

  variables {
    upload_keys = true
  }

  assert {
    condition     = jsondecode(google_iam_workload_identity_pool_provider.uploaded["prod-eu1"].oidc[0].jwks_json).keys[0].kid == "flGH-amllJpl4QaiIUqQcujJcaIcJgnCQxfEgrPaoaI" && length(google_iam_workload_identity_pool_provider.fetched) == 0
    error_message = "Other keys."
  }
}

run "an_owner" {
  command = plan

  variables {
    service_accounts = { "production/payments" = { clusters = ["prod-eu1"], roles = ["roles/owner"] } }
  }

  expect_failures = [var.service_accounts]
}
