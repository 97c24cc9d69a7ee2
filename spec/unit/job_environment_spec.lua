local job_environment = require "studioml.job_environment"

local FOLDER = "/w/runs/0000aaaa/jobs/1"

local function build(variables, options)
  local job = { key = "e", environment = variables or {} }
  local made = { inherit = {}, cores = 2, marks = { MOONRUNNER_RUN = "0000aaaa" } }
  for name, value in pairs(options or {}) do
    made[name] = value
  end
  return job_environment.build(job, FOLDER, made)
end

describe("the environment of a job", function()
  it("holds nothing of the host's but what is named", function()
    set_environment("SPEC_SECRET", "s")
    set_environment("SPEC_SHOWN", "v")
    finally(function()
      set_environment("SPEC_SECRET", nil)
      set_environment("SPEC_SHOWN", nil)
    end)
    local environment = build(nil, { inherit = { "SPEC_SHOWN", "SPEC_UNSET" } })
    assert.same({ "v", nil, nil }, { environment.SPEC_SHOWN, environment.SPEC_SECRET, environment.SPEC_UNSET })
    assert.equal("/usr/local/bin:/usr/bin:/bin", environment.PATH)
  end)

  it("leads home, temporary files and the client's library into the job's folder", function()
    local environment = build()
    for _, name in ipairs({ "HOME", "TMPDIR", "STUDIOML_HOME" }) do
      assert.equal(FOLDER, environment[name])
    end
    assert.equal("e", environment.STUDIOML_EXPERIMENT)
    assert.equal(FOLDER .. "/artifact_mappings/e/artifacts.json", environment.STUDIOML_ARTIFACT_MAPPING)
  end)

  it("lets numeric libraries use as many threads as there are cores, at least one", function()
    assert.equal("2", build().OMP_NUM_THREADS)
    assert.equal("1", build(nil, { cores = 0 }).OPENBLAS_NUM_THREADS)
    assert.equal("7", build({ MKL_NUM_THREADS = "7" }).MKL_NUM_THREADS)
  end)

  it("shows a job no GPU that it was not given, and its marks, whatever its message says", function()
    local environment = build({ HOME = "/root", CUDA_VISIBLE_DEVICES = "0", MOONRUNNER_RUN = "other" })
    assert.same({ FOLDER, "-1", "0000aaaa" },
      { environment.HOME, environment.CUDA_VISIBLE_DEVICES, environment.MOONRUNNER_RUN })
  end)

  it("puts the programs of its Python environment first", function()
    local environment = build(nil, { python_folder = "/envs/x" })
    assert.equal("/envs/x/bin:/usr/local/bin:/usr/bin:/bin", environment.PATH)
    assert.equal("/envs/x", environment.VIRTUAL_ENV)
  end)

  it("replaces %NAME% in the message's variables by what the job has, in no order", function()
    local environment = build({ PATH = "%PATH%:./bin", A = "%B%", B = "b", C = "100%", D = "%SECRET%%PATH%" })
    assert.equal("/usr/local/bin:/usr/bin:/bin:./bin", environment.PATH)
    assert.equal("100%", environment.C)
    assert.equal("%SECRET%/usr/local/bin:/usr/bin:/bin", environment.D)
    assert.equal("%B%", environment.A)
  end)
end)
