-- Health of every kind of pantograph.dev for Argo CD: the rules of kstatus, in its order, so that Argo CD, Flux and
-- `kubectl wait` say the same. Argo CD itself shows an object under deletion as progressing before it asks us.
local function health(status, message)
  return { status = status, message = message or "" }
end

local function condition(object, kind)
  for _, each in ipairs(object.status.conditions or {}) do
    if each.type == kind then
      return each
    end
  end
  return {}
end

if obj.spec ~= nil and obj.spec.suspend == true then
  return health("Suspended", "spec.suspend is true")
end
if obj.status == nil or obj.status.observedGeneration ~= obj.metadata.generation then
  return health("Progressing", "Waiting for the operator to look at this generation")
end
local reconciling, stalled, ready = condition(obj, "Reconciling"), condition(obj, "Stalled"), condition(obj, "Ready")
if reconciling.status == "True" then
  return health("Progressing", ready.message or reconciling.message)
end
if stalled.status == "True" then
  return health("Degraded", stalled.message)
end
if ready.status == "True" then
  return health("Healthy", ready.message)
end
return health("Progressing", ready.message)
