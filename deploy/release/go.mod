module github.com/kube-iam-assume/kube-iam-assume/deploy/release

go 1.26.0

require github.com/CycloneDX/cyclonedx-go v0.10.0
