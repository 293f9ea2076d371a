// The words of the pages, in English and Chinese, and the choice between them.

const WORDS = {
  en: {
    other: "中文", docs: "API", runs: "Runs", run: "Run", dag: "DAG", state: "State", tasks: "Tasks",
    created: "Created", took: "Took", empty: "No runs yet. Post a DAG file to /api/v1/runs.",
    more: "More", all: "all", token: "Token", enter: "Use it", live: "live", broken: "reconnecting …",
    pause: "Pause", resume: "Resume", cancel: "Cancel", retry: "Retry what failed", close: "Close",
    operator: "Operator", algorithm: "Algorithm", reason: "Reason", attempt: "Attempt",
    outputs: "Outputs", log: "Log", preview: "Preview", content: "Download", started: "started",
    ended: "ended", rows: "rows", version: "version", range: "range", base_run: "follows run",
    error: "Error", hint: "What to do", traceback: "Traceback", engine: "Operator engine",
    worker: "Worker", metrics: "Figures", seed: "Seed", no_log: "Nothing was written yet.",
    cut: "The first {0} of {1} operators are shown.", report: "Evaluation", confusion: "Confusion matrix",
    actual: "actual", predicted: "predicted", positive: "positive", negative: "negative",
    curve: "Curve",
    first_rows: "First {0} of {1} rows", caller: "{0} · {1} in {2}",
    states: {}, reasons: {}, roles: {},
    refusals: {
      token_missing: "This service asks for a token.",
      token_unknown: "The token is not known, was revoked, or has expired.",
      role_too_small: "The token's role does not allow this.",
    },
  },
  zh: {
    other: "English", docs: "接口文档", runs: "运行", run: "运行", dag: "流程", state: "状态", tasks: "任务",
    created: "创建时间", took: "用时", empty: "还没有运行。把 DAG 文件提交到 /api/v1/runs。",
    more: "更多", all: "全部", token: "令牌", enter: "使用", live: "实时", broken: "重新连接中……",
    pause: "暂停", resume: "继续", cancel: "取消", retry: "重试失败部分", close: "关闭",
    operator: "算子", algorithm: "算法", reason: "原因", attempt: "尝试",
    outputs: "输出", log: "日志", preview: "预览", content: "下载", started: "开始于",
    ended: "结束于", rows: "行", version: "版本", range: "范围", base_run: "基于运行",
    error: "错误", hint: "处理办法", traceback: "调用栈", engine: "算子引擎",
    worker: "工作进程", metrics: "指标", seed: "随机种子", no_log: "尚无输出。",
    cut: "只显示 {1} 个算子中的前 {0} 个。", report: "评估", confusion: "混淆矩阵",
    actual: "实际", predicted: "预测", positive: "正类", negative: "负类",
    curve: "曲线",
    first_rows: "共 {1} 行，显示前 {0} 行", caller: "{0} · {1} · 命名空间 {2}",
    roles: { viewer: "查看者", submitter: "提交者", operator: "运维者", admin: "管理员" },
    refusals: {
      token_missing: "此服务需要令牌。",
      token_unknown: "令牌不存在、已被吊销或已过期。",
      role_too_small: "该令牌的角色无权执行此操作。",
    },
    states: {
      pending: "等待上游", ready: "就绪", queued: "已派发", running: "运行中", retrying: "等待重试",
      succeeded: "成功", failed: "失败", cancelled: "已取消", skipped: "已跳过",
      upstream_failed: "上游失败", pausing: "暂停中", paused: "已暂停", cancelling: "取消中",
    },
    reasons: {
      ran: "已运行", slots_busy: "没有空闲的槽位", queue_full: "队列已满", no_engine: "没有合适的算子引擎",
      engine_away: "算子引擎失联", run_paused: "运行已暂停", asked: "人为操作", stopped: "运行已停止",
      not_needed: "不需要", upstream: "缺少上游结果", error: "出错", invalid_input: "输入无效",
      invalid_output: "输出无效", timeout: "超时", out_of_memory: "内存不足",
      too_many_processes: "进程过多", segfault: "进程崩溃",
      exited: "进程自行退出", disk_full: "磁盘已满", killed: "进程被杀死", lost: "失联", quarantined: "已隔离",
    },
  },
};

const listeners = [];
let language = choose();

function choose() {
  const kept = localStorage.getItem("language");
  if (kept in WORDS) return kept;
  return navigator.languages.some((tag) => tag.toLowerCase().startsWith("zh")) ? "zh" : "en";
}

export function say(word, ...values) {
  const text = WORDS[language][word] ?? WORDS.en[word] ?? word;
  return values.reduce((filled, value, place) => filled.replace(`{${place}}`, value), text);
}

export function sayState(state) {
  return WORDS[language].states[state] ?? state.replaceAll("_", " ");
}

export function sayReason(reason) {
  return WORDS[language].reasons[reason] ?? (reason || "").replaceAll("_", " ");
}

export function sayRole(role) {
  return WORDS[language].roles[role] ?? role;
}

// What is said of a refusal in the page's own language; nothing where the service's words do.
export function sayRefusal(code) {
  return WORDS[language].refusals[code];
}

// What bears its own title in both languages: curves, axes, algorithms.
export function inOwnWords(thing) {
  return (language === "zh" ? thing.title_zh : thing.title) || thing.title || "";
}

export function locale() {
  return language === "zh" ? "zh-CN" : "en-GB";
}

export function onLanguage(listener) {
  listeners.push(listener);
}

export function startLanguage() {
  const button = document.getElementById("language");
  button.addEventListener("click", () => {
    language = language === "zh" ? "en" : "zh";
    localStorage.setItem("language", language);
    apply();
  });
  apply();
}

function apply() {
  document.documentElement.lang = locale();
  document.getElementById("language").textContent = say("other");
  for (const element of document.querySelectorAll("[data-text]")) {
    element.textContent = say(element.dataset.text);
  }
  for (const listener of listeners) listener();
}
