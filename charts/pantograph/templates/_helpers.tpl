{{- define "pantograph.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- define "pantograph.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 50 | trimSuffix "-" }}
{{- else if contains (include "pantograph.name" .) .Release.Name -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" }}
{{- else -}}
{{- printf "%s-%s" .Release.Name (include "pantograph.name" .) | trunc 50 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{- define "pantograph.selectorLabels" -}}
app.kubernetes.io/name: {{ include "pantograph.name" . | quote }}
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end }}

{{- define "pantograph.labels" -}}
{{- include "pantograph.labelsWith" (list . dict) }}
{{- end }}

{{- /* Labels of an object: those that select, then those given beside the root, then commonLabels. The first wins. */ -}}
{{- define "pantograph.labelsWith" -}}
{{- $root := first . -}}
{{- with $root -}}
{{- $own := dict
  "helm.sh/chart" (printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-")
  "app.kubernetes.io/version" .Chart.AppVersion
  "app.kubernetes.io/managed-by" .Release.Service
  "app.kubernetes.io/part-of" "pantograph" -}}
{{- merge (include "pantograph.selectorLabels" . | fromYaml) (last $ | default dict) (.Values.commonLabels | default dict) $own | toYaml }}
{{- end }}
{{- end }}

{{- define "pantograph.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "pantograph.fullname" .) .Values.serviceAccount.name }}
{{- else -}}
{{- default "default" .Values.serviceAccount.name }}
{{- end }}
{{- end }}

{{- define "pantograph.image" -}}
{{- with .Values.image -}}
{{- if .digest -}}
{{ .repository }}@{{ .digest }}
{{- else -}}
{{ .repository }}:{{ default $.Chart.AppVersion .tag }}
{{- end }}
{{- end }}
{{- end }}

{{- define "pantograph.leaseNamespace" -}}
{{- default .Release.Namespace .Values.leaderElection.namespace }}
{{- end }}

{{- /* Where a root is in the operator's container. */ -}}
{{- define "pantograph.rootPath" -}}
{{- default (printf "/roots/%s" .name) .mountPath }}
{{- end }}

{{- define "pantograph.subject" -}}
- kind: ServiceAccount
  name: {{ include "pantograph.serviceAccountName" . }}
  namespace: {{ .Release.Namespace }}
{{- end }}

{{- /* A quantity of values.schema.json, such as 45Gi, in bytes. */ -}}
{{- define "pantograph.bytes" -}}
{{- $units := dict "" 1 "k" 1000 "M" 1000000 "G" 1000000000 "T" 1000000000000 "Ki" 1024 "Mi" 1048576 "Gi" 1073741824 "Ti" 1099511627776 -}}
{{- mulf (regexFind "^[0-9.]+" .) (get $units (regexReplaceAll "^[0-9.]+" . "")) -}}
{{- end }}

{{- /* A duration of values.schema.json, such as 1m30s, in milliseconds. */ -}}
{{- define "pantograph.milliseconds" -}}
{{- $units := dict "ms" 1 "s" 1000 "m" 60000 "h" 3600000 -}}
{{- $sum := 0 -}}
{{- range regexFindAll "[0-9]+(ms|s|m|h)" . -1 -}}
{{- $sum = add $sum (mul (regexFind "^[0-9]+" .) (get $units (regexFind "[a-z]+$" .))) -}}
{{- end -}}
{{- $sum -}}
{{- end }}

{{- /* What can only be seen by looking at two values at once, and so not by values.schema.json. */ -}}
{{- define "pantograph.validate" -}}
{{- with .Values -}}
{{- if gt (int .replicas) 1 -}}
{{- if not .depot.persistence.enabled -}}
{{- fail "replicas: more than 1 needs a depot volume that all pods mount; set depot.persistence.enabled=true and depot.persistence.accessMode=ReadWriteMany, or replicas=1" -}}
{{- end -}}
{{- if and (not .depot.persistence.existingClaim) (ne .depot.persistence.accessMode "ReadWriteMany") -}}
{{- fail "replicas: more than 1 needs a depot volume that all pods mount; set depot.persistence.accessMode=ReadWriteMany, or replicas=1" -}}
{{- end -}}
{{- end -}}
{{- with .depot -}}
{{- if and (not .persistence.enabled) (ge (include "pantograph.bytes" .quota | float64) (include "pantograph.bytes" .persistence.size | float64)) -}}
{{- fail (printf "depot.quota (%s) must be less than depot.persistence.size (%s) while depot.persistence.enabled is false: Kubernetes evicts a pod whose emptyDir outgrows its size, and then all images are fetched again; lower depot.quota or raise depot.persistence.size" .quota .persistence.size) -}}
{{- end -}}
{{- end -}}
{{- with .leaderElection -}}
{{- if ge (include "pantograph.milliseconds" .renewDeadline | int64) (include "pantograph.milliseconds" .leaseDuration | int64) -}}
{{- fail (printf "leaderElection.renewDeadline (%s) must be less than leaderElection.leaseDuration (%s): a leader must have ended before another takes over; lower renewDeadline or raise leaseDuration" .renewDeadline .leaseDuration) -}}
{{- end -}}
{{- end -}}
{{- if and .depot.service.nodePort (eq .depot.service.type "ClusterIP") -}}
{{- fail "depot.service.nodePort is only possible with depot.service.type NodePort or LoadBalancer" -}}
{{- end -}}
{{- $names := list -}}
{{- range .roots -}}
{{- if has .name $names -}}
{{- fail (printf "roots: two are named %s; give each a name of its own" .name) -}}
{{- end -}}
{{- $names = append $names .name -}}
{{- end -}}
{{- end -}}
{{- end }}
