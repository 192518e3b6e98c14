-- Health of every kind of pantograph.dev for Argo CD: the rules of kstatus, so that Argo CD, Flux and `kubectl wait` say
-- the same. Argo CD itself shows an object under deletion as progressing before it asks us.
local function health(status, message)
  return { status = status, message = message or "" }
end

if obj.spec ~= nil and obj.spec.suspend == true then
  return health("Suspended", "spec.suspend is true")
end
if obj.status == nil or obj.status.observedGeneration ~= obj.metadata.generation then
  return health("Progressing", "Waiting for the operator to look at this generation")
end

local ready
for _, condition in ipairs(obj.status.conditions or {}) do
  -- Of the two abnormal ones the first in the list wins, as in kstatus.
  if condition.type == "Reconciling" and condition.status == "True" then
    return health("Progressing", condition.message)
  end
  if condition.type == "Stalled" and condition.status == "True" then
    return health("Degraded", condition.message)
  end
  if condition.type == "Ready" then
    ready = condition
  end
end
if ready ~= nil and ready.status == "True" then
  return health("Healthy", ready.message)
end
return health("Progressing", ready and ready.message)
