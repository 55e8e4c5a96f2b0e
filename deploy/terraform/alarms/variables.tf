variable "mirrored" {
  description = "Whether the issuers have other publishers."
  type        = bool
  nullable    = false
}
