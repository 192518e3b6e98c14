{{- /* The operator's settings; values.yaml has the table. */ -}}
{{- define "pantograph.env" -}}
- name: PANTOGRAPH_NAMESPACE
  valueFrom:
    fieldRef:
      fieldPath: metadata.namespace
- name: PANTOGRAPH_POD_NAME
  valueFrom:
    fieldRef:
      fieldPath: metadata.name
- name: PANTOGRAPH_POD_IP
  valueFrom:
    fieldRef:
      fieldPath: status.podIP
{{- with .Values.watchNamespaces }}
- name: PANTOGRAPH_WATCH_NAMESPACES
  value: {{ join "," . | quote }}
{{- end }}
- name: PANTOGRAPH_WORKERS
  value: {{ .Values.workers | quote }}
- name: PANTOGRAPH_HTTP_PORT
  value: "8080"
- name: PANTOGRAPH_LOG_FORMAT
  value: {{ .Values.logging.format }}
- name: PANTOGRAPH_LOG_LEVEL
  value: {{ .Values.logging.level }}
- name: PANTOGRAPH_LEASE_NAME
  value: {{ .Values.leaderElection.leaseName | quote }}
- name: PANTOGRAPH_LEASE_NAMESPACE
  value: {{ include "pantograph.leaseNamespace" . | quote }}
- name: PANTOGRAPH_LEASE_DURATION
  value: {{ .Values.leaderElection.leaseDuration | quote }}
- name: PANTOGRAPH_LEASE_RENEW_DEADLINE
  value: {{ .Values.leaderElection.renewDeadline | quote }}
- name: PANTOGRAPH_LEASE_RETRY_PERIOD
  value: {{ .Values.leaderElection.retryPeriod | quote }}
- name: PANTOGRAPH_INSTALLATION_SECRET
  value: {{ .Values.installationSecret | quote }}
- name: PANTOGRAPH_DEPOT_DIR
  value: /var/lib/pantograph/depot
- name: PANTOGRAPH_DEPOT_PORT
  value: "8081"
- name: PANTOGRAPH_DEPOT_QUOTA
  value: {{ .Values.depot.quota | quote }}
{{- with .Values.depot.externalURL }}
- name: PANTOGRAPH_DEPOT_EXTERNAL_URL
  value: {{ . | quote }}
{{- end }}
- name: PANTOGRAPH_FETCH_ALLOW_LOOPBACK
  value: {{ .Values.fetch.allowLoopback | quote }}
{{- with .Values.fetch.clusterRanges }}
- name: PANTOGRAPH_CLUSTER_RANGES
  value: {{ join "," . | quote }}
{{- end }}
- name: PANTOGRAPH_RUNS_PORT
  value: "8443"
- name: PANTOGRAPH_RUNS_URL
  value: https://{{ include "pantograph.fullname" . }}-runs.{{ .Release.Namespace }}.svc:{{ .Values.runs.service.port }}
- name: PANTOGRAPH_RUNS_DIR
  value: /run/pantograph
- name: PANTOGRAPH_IMAGE
  value: {{ include "pantograph.image" . | quote }}
- name: PANTOGRAPH_IMAGE_PULL_POLICY
  value: {{ .Values.image.pullPolicy }}
{{- with .Values.runs.imagePullSecrets }}
- name: PANTOGRAPH_IMAGE_PULL_SECRETS
  value: {{ join "," . | quote }}
{{- end }}
- name: PANTOGRAPH_MAX_RUNS
  value: {{ .Values.runs.max | quote }}
{{- with .Values.roots }}
{{- $roots := list }}
{{- range . }}
{{- $roots = append $roots (dict "name" .name "path" (include "pantograph.rootPath" .) "namespaces" .namespaces) }}
{{- end }}
- name: PANTOGRAPH_ROOTS
  value: {{ toJson $roots | quote }}
{{- end }}
{{- end }}
