# Packer: an image of Amazon Linux 2023 with shipper. Shipping starts on the instances, not in the bake.
#
#   git archive --output shipper.tar.gz HEAD
#   packer init systemd/ami/shipper.pkr.hcl
#   packer build -var source_archive=shipper.tar.gz -var bucket=my-secure-log-bucket systemd/ami/shipper.pkr.hcl
#
# Add your own provisioners before the last one. Its instance profile must be one that may write to the
# bucket if logs are rotated during the bake; else none is needed.

packer {
  required_plugins {
    amazon = {
      source  = "github.com/hashicorp/amazon"
      version = ">= 1.2.8"
    }
  }
}

variable "source_archive" {
  type        = string
  description = "The archive of shipper's source tree."
}

variable "bucket" {
  type        = string
  description = "Where the instances ship their logs."
}

variable "directory" {
  type        = string
  default     = "/var/log/nginx"
  description = "Whose rotated logs they ship."
}

variable "region" {
  type    = string
  default = "eu-central-1"
}

variable "instance_profile" {
  type    = string
  default = ""
}

source "amazon-ebs" "al2023" {
  ami_name             = "shipper-{{timestamp}}"
  region               = var.region
  instance_type        = "t3.small"
  ssh_username         = "ec2-user"
  iam_instance_profile = var.instance_profile
  imds_support         = "v2.0"

  source_ami_filter {
    filters = {
      name                = "al2023-ami-2023.*-x86_64"
      root-device-type    = "ebs"
      virtualization-type = "hvm"
    }
    owners      = ["amazon"]
    most_recent = true
  }

  # The metadata service as shipper speaks it: version 2 only, and for this machine only.
  metadata_options {
    http_endpoint               = "enabled"
    http_tokens                 = "required"
    http_put_response_hop_limit = 1
  }
}

build {
  sources = ["source.amazon-ebs.al2023"]

  provisioner "file" {
    source      = var.source_archive
    destination = "/tmp/shipper.tar.gz"
  }

  provisioner "shell" {
    environment_vars = ["BUCKET=${var.bucket}", "DIRECTORY=${var.directory}"]
    execute_command  = "sudo env {{ .Vars }} bash -eu '{{ .Path }}'"
    inline = [
      "dnf install -y python3.11 logrotate tar",
      "mkdir -p /tmp/shipper /etc/shipper",
      "tar -xzf /tmp/shipper.tar.gz -C /tmp/shipper",
      "printf '[destination]\\nbucket = \"%s\"\\n[[watch]]\\ndirectory = \"%s\"\\n' \"$BUCKET\" \"$DIRECTORY\" > /etc/shipper/shipper.toml",
      "/tmp/shipper/systemd/install.sh --no-start",
      "rm -rf /tmp/shipper /tmp/shipper.tar.gz",
    ]
  }

  # Last, so that nothing is rotated after it.
  provisioner "shell" {
    execute_command = "sudo env {{ .Vars }} bash -eu '{{ .Path }}'"
    inline          = ["/usr/lib/shipper/before-snapshot"]
  }
}
