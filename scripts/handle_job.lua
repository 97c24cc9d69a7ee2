-- How one job is handled, from top to bottom. Every step is an ordinary call that waits; a step that fails gives
-- back the outcome. This script never answers the delivery: it returns an outcome, and the host does the rest.
return function(job)
  local ready, outcome = job:make_workspace()
  if ready then
    ready, outcome = job:fetch_artifacts()
  end
  if ready then
    ready, outcome = job:prepare_environment()
  end
  if ready then
    outcome = job:run()
  end
  return job:save(outcome)
end
